"""Any bytes at all as the source: they end in a table or in a sentence, never in a crash.

`make test` reads some tens of damaged files of each format; `make fuzz` thousands, and prints what
became of them. One by one, by the seed that was printed and its number:

    python tests/damaged_tables.py feather SEED NUMBER NUMBER+1 FOLDER
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import damaged_tables
import pyarrow as pa
import pytest
from damaged_tables import CRASH, FORMATS, TRACEBACK, Ending

from em_impute.job import FileSource
from em_impute.tables.snapshot import SourceError
from em_impute.tables.sources import take_snapshot

FILES = int(os.environ.get("FUZZ_FILES", "80")) // len(FORMATS)
SEED = int(os.environ.get("FUZZ_SEED", "20261127"))
CASES = Path(__file__).parent / "damaged"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.timeout(0)
def test_any_damage_to_a_table(file_format: str, tmp_path: Path) -> None:
    endings = what_becomes_of(file_format, SEED, FILES, tmp_path)
    counts = Counter(ending.outcome for ending in endings)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common())
    print(f"\n{len(endings):,} damaged files of {file_format}, seed {SEED}: {outcomes}")
    assert len(endings) == FILES
    worst = [ending for ending in endings if ending.outcome in (CRASH, TRACEBACK)]
    assert not worst, "\n".join(f"{e.number}: {e.outcome}: {e.details}" for e in worst[:5])
    # What only refuses would pass everything.
    assert counts["refused"]
    assert counts["read and written again"]


@pytest.mark.parametrize(("file_format", "number"), [("csv", 770), ("feather", 1009)])
def test_files_that_ended_in_a_traceback(file_format: str, number: int, tmp_path: Path) -> None:
    """A header of one column below an empty line; categories that are structures."""
    [ending] = what_becomes_of(file_format, 20261128, number + 1, tmp_path, number)
    assert ending.outcome == "refused", ending.details


def what_becomes_of(
    file_format: str, seed: int, files: int, folder: Path, first: int = 0
) -> list[Ending]:
    about = [file_format, str(seed), str(first), str(files)]
    program = [sys.executable, damaged_tables.__file__, *about]
    done = subprocess.run(
        [*program, str(folder)], stdout=subprocess.PIPE, text=True, timeout=3600, check=True
    )
    return [Ending(**json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_files_that_took_the_process_down(case: Path, tmp_path: Path) -> None:
    """Each is refused in a sentence: exit code 2, and no signal."""
    (tmp_path / "job.yaml").write_text(
        f"name: x\nsource: {{path: {case}}}\ntarget: {{path: o.csv}}\n"
    )
    program = [
        sys.executable,
        "-c",
        "from em_impute.cli.main import main; main()",
        "check",
        "job.yaml",
    ]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "the file is damaged" in done.stderr


def test_a_file_that_breaks_its_promise_of_no_nulls_is_damaged(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    with pa.ipc.new_file(tmp_path / "x.feather", schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array([1, None])], schema=schema))
    with pytest.raises(SourceError, match="the file is damaged"):
        take_snapshot(FileSource(path=tmp_path / "x.feather"), tmp_path / "snapshot.arrow")
