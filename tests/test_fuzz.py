"""Any file at all as a job: it ends in a job or in sentences with their place, nothing else.

`make test` tries some hundred; `make fuzz` thousands, and prints what became of them.
"""

from __future__ import annotations

import os
import re
import resource
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from hostile_jobs import damaged_files, job_files, odd_jobs
from hypothesis import HealthCheck, Phase, given, settings

from em_impute.cli import main as cli
from em_impute.job import Job, JobError, load_job

INPUTS = int(os.environ.get("FUZZ_INPUTS", "240"))
TABLE = "k,x,y,g\n" + "".join(
    f"{i},{i}.5,{'' if i % 3 == 1 else i + 1},{'ab'[i % 2]}\n" for i in range(12)
)
PLACE = re.compile(r"job\.yaml(:\d+:\d+)?: \S")

fuzzed = settings(
    deadline=None,
    max_examples=INPUTS // 3 + 1,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Tally:
    """What became of the inputs, for whoever watches `make fuzz`."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    slowest_input: bytes = b""

    def __str__(self) -> str:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        files = sum(self.outcomes.values())
        lines = [f"{n:>9,} {what}" for what, n in self.outcomes.most_common()]
        slowest = f"The slowest took {self.slowest:.1f} s: {self.slowest_input[:200]!r}"
        return "\n".join(
            [f"{files:,} job files:", *lines, slowest, f"Most memory: {peak:,.0f} MB."]
        )


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"\n{tally}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the tables that the jobs name, which they cannot leave."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "in.csv").write_text(TABLE)
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    with duckdb.connect(str(folder / "in.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t AS FROM read_csv('{folder / 'in.csv'}')")
    connection = sqlite3.connect(folder / "in.sqlite")
    connection.executescript(
        "CREATE TABLE t (k, x, y, g);"
        "INSERT INTO t VALUES (1, 2, 3, 'a'), (2, 3, NULL, 'b'), (3, 4.5, 1, 'a')"
    )
    connection.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EM_IMPUTE_ROOT", str(folder))
        yield folder


def tried(folder: Path, content: bytes, tally: Tally) -> None:
    """Load a file as a job and, if it is one, check it as `em-impute check` does."""
    Path("job.yaml").write_bytes(content)
    started = time.monotonic()
    job = loaded(Path("job.yaml"))
    if isinstance(job, JobError):
        lines = str(job).splitlines()
        assert lines
        assert all(PLACE.match(line) for line in lines), lines
        outcome = "refused"
    else:
        outcome = f"read, and {checked(job)}"
    took = time.monotonic() - started
    if took > tally.slowest:
        tally.slowest, tally.slowest_input = took, content
    tally.outcomes[outcome] += 1


def loaded(path: Path) -> Job | JobError:
    try:
        return load_job(path)
    except JobError as error:
        return error


def checked(job: Job) -> str:
    if not (is_local(job.source) and is_local(job.target)):
        return "not checked: its tables are elsewhere"
    result = CliRunner().invoke(cli.main, ["check", "job.yaml"])
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output
    return ["its plan shown", "refused by the checks", "told what is wrong"][result.exit_code]


def is_local(place: object) -> bool:
    """Whether a source or target is on this machine: the others would be looked for in vain."""
    path, url = getattr(place, "path", None), getattr(place, "url", "")
    return isinstance(path, Path) or (isinstance(url, str) and url.startswith(("sqlite", "duckdb")))


@given(text=job_files())
@fuzzed
def test_any_change_of_a_job(folder: Path, tally: Tally, text: str) -> None:
    tried(folder, text.encode("utf-8", "surrogatepass"), tally)


@given(content=damaged_files())
@fuzzed
def test_any_damage_to_a_file(folder: Path, tally: Tally, content: bytes) -> None:
    tried(folder, content, tally)


@given(text=odd_jobs)
@fuzzed
def test_any_table_and_checks(folder: Path, tally: Tally, text: str) -> None:
    tried(folder, text.encode("utf-8", "surrogatepass"), tally)
