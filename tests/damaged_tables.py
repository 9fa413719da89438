"""Tables whose bytes were damaged, and what becomes of those who read them.

A damaged file may take the process down, not only raise: so each is read in a child, and it is the
parent that tells what became of it. The same seed damages the same files.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from pyarrow import csv, feather

from em_impute.cli import main as cli
from em_impute.job import CannotRun, FileSource, FileTarget
from em_impute.tables.columns.roles import Roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.sources import take_snapshot
from em_impute.tables.writing.formats import read_staged

FORMATS = ("feather", "parquet", "csv", "jsonl")
# A child reads so many files, unless one of them takes it down.
FILES_A_CHILD = 50
SECONDS_A_FILE = 60
MEMORY = 6 * 2**30
TRACEBACK, CRASH = "TRACEBACK", "CRASH"


@dataclass(frozen=True)
class Ending:
    """What became of one file: an outcome in words, and for the worst ones the details."""

    number: int
    outcome: str
    details: str = ""


# --- The files -----------------------------------------------------------------------------------


def table(rng: np.random.Generator) -> pa.Table:
    """A small table of many types, with holes in all columns but the key."""
    n = int(rng.integers(0, 40))
    columns = {
        "k": pa.array(range(n)),
        "x": with_holes(rng.normal(size=n).tolist(), rng),
        "f": with_holes(rng.integers(0, 9, n).tolist(), rng, pa.float32()),
        "i": with_holes(rng.integers(-9, 9, n).tolist(), rng, pa.int16()),
        "s": with_holes([f"text {i}" for i in range(n)], rng),
        "large": with_holes([f"é{i}" for i in range(n)], rng, pa.large_string()),
        "b": with_holes([i % 3 == 0 for i in range(n)], rng),
        "c": with_holes(["abc"[i % 3] for i in range(n)], rng, pa.string()).dictionary_encode(),
        "d": with_holes([Decimal(i) / 4 for i in range(n)], rng, pa.decimal128(9, 2)),
        "day": with_holes([date(2024, 1, 1 + i % 28) for i in range(n)], rng),
        "at": with_holes([datetime(2024, 1, 1, i % 24) for i in range(n)], rng),
        "z": with_holes(
            [datetime(2024, 1, 1, i % 24) for i in range(n)], rng, pa.timestamp("ns", "UTC")
        ),
        "l": with_holes([[i, i + 1] for i in range(n)], rng, pa.list_(pa.int64())),
        "ls": with_holes([["a", None] for _ in range(n)], rng, pa.list_(pa.string())),
        "t": with_holes([{"a": i, "b": "x"} for i in range(n)], rng),
        "raw": with_holes([bytes([i]) for i in range(n)], rng, pa.binary()),
        "view": with_holes(["a longer text than twelve bytes"] * n, rng, pa.string_view()),
        "n": pa.nulls(n),
    }
    chosen = ["k", "x", *rng.choice(list(columns)[2:], int(rng.integers(0, 5)), replace=False)]
    return pa.table({name: columns[name] for name in chosen})


def with_holes(
    values: list[object], rng: np.random.Generator, type_: pa.DataType | None = None
) -> pa.Array:
    return pa.array([None if rng.random() < 0.15 else value for value in values], type_)


def whole_file(file_format: str, rng: np.random.Generator) -> bytes:
    """The bytes of a table in a format, as one of the programs that write it would."""
    content, sink = table(rng), io.BytesIO()
    match file_format:
        case "feather":
            compression = str(rng.choice(["uncompressed", "lz4", "zstd"]))
            chunk = int(rng.integers(1, 30))
            feather.write_feather(content, sink, compression=compression, chunksize=chunk)
        case "parquet":
            pq.write_table(
                content,
                sink,
                compression=str(rng.choice(["none", "snappy", "zstd", "gzip"])),
                row_group_size=int(rng.integers(1, 30)),
                data_page_version=str(rng.choice(["1.0", "2.0"])),
                use_dictionary=bool(rng.integers(0, 2)),
            )
        case "csv":
            csv.write_csv(plain(content), sink)
        case _:
            for row in plain(content).to_pylist():
                sink.write(json.dumps(row, default=str).encode() + b"\n")
    return sink.getvalue()


def plain(content: pa.Table) -> pa.Table:
    """The columns that a file of text can hold."""
    names = [name for name in content.column_names if name not in ("l", "ls", "t", "raw", "view")]
    return content.select(names)


TOKENS = [
    b'"', b'""', b",", b"\n", b"\r", b"\n\n", b";", b"\\", b" ", b"\0", b"\xff", b"\xef\xbb\xbf",
    b"\xe2\x80\xae", b"nan", b"null", b"true", b"1e999", b"-0", b"007", b"99999999999999999999",
    b"0x1F", b"2024-02-30", b"=1+1", b"[", b"{}", b":", b"x" * 3000,
]  # fmt: skip


def misspelt(content: bytes, rng: np.random.Generator) -> bytes:
    """A file of text with some characters put in, or put in the place of others."""
    text = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        at = int(rng.integers(0, len(text) + 1))
        text[at : at + int(rng.integers(0, 4))] = TOKENS[int(rng.integers(0, len(TOKENS)))]
    return bytes(text)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut out, doubled or overwritten; the ends of the file mostly kept."""
    damaged = bytearray(content)
    end = 8 if rng.random() < 0.8 else 0
    for _ in range(int(rng.choice([1, 1, 1, 2, 4, 16]))):
        inner = len(damaged) - 2 * end
        if inner <= 0:
            break
        # The last bytes of a file are where its metadata are.
        last = rng.random() < 0.4
        start = max(0, inner - 600) if last else 0
        at = end + start + int(rng.integers(0, inner - start))
        length = int(rng.integers(1, 9))
        match int(rng.integers(0, 7)):
            case 0:
                damaged[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                damaged[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
            case 2:
                number = int(rng.choice(ODD_NUMBERS))
                damaged[at : at + 8] = number.to_bytes(8, "little", signed=True)
            case 3:
                del damaged[at : at + length]
            case 4:
                damaged[at:at] = damaged[at : at + length]
            case 5:
                damaged[at : at + 4] = int(rng.integers(0, 2**16)).to_bytes(4, "little")
            case _:
                other = end + int(rng.integers(0, inner))
                damaged[at : at + length] = damaged[other : other + length]
    return bytes(damaged)


ODD_NUMBERS = [0, 1, -1, 2**31 - 1, 2**31, 2**62, -(2**63), 2**63 - 1, 255, 65536]


# --- Who reads them ------------------------------------------------------------------------------


def endings(file_format: str, seed: int, first: int, last: int, folder: Path) -> Iterator[Ending]:
    """Damage the files with these numbers and read each, in children."""
    number = first
    while number < last:
        to = min(number + FILES_A_CHILD, last)
        said, code = _in_a_child(partial(read_some, file_format, seed, number, to, folder))
        yield from said
        number += len(said)
        if number < to:
            yield Ending(number, CRASH, f"the process ended with {code}")
            number += 1


def _in_a_child(work: Callable[[], Iterator[Ending]]) -> tuple[list[Ending], str]:
    """What a forked process says before it ends, and how it ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with os.fdopen(writer, "w") as pipe:
                for ending in work():
                    print(json.dumps(asdict(ending)), file=pipe, flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = [Ending(**json.loads(line)) for line in pipe]
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return said, signal.Signals(-code).name if code < 0 else f"code {code}"


def read_some(file_format: str, seed: int, first: int, last: int, folder: Path) -> Iterator[Ending]:
    """Read the damaged files with these numbers."""
    os.chdir(folder)
    Path("job.yaml").write_text(
        f"name: damaged\nsource: {{path: in.{file_format}}}\ncolumns: {{key: [k]}}\n"
        "target: {path: out.feather}\n"
    )
    for number in range(first, last):
        content = damaged_file(file_format, seed, number)
        Path(f"in.{file_format}").write_bytes(content)
        signal.alarm(SECONDS_A_FILE)
        yield Ending(number, *what_becomes_of(Path(f"in.{file_format}"), file_format))
        signal.alarm(0)


def damaged_file(file_format: str, seed: int, number: int) -> bytes:
    """The damaged file with this number."""
    rng = np.random.default_rng([seed, FORMATS.index(file_format), number])
    content = whole_file(file_format, rng)
    is_text = file_format in ("csv", "jsonl")
    return misspelt(content, rng) if is_text and rng.random() < 0.7 else damaged(content, rng)


def what_becomes_of(path: Path, file_format: str) -> tuple[str, str]:
    """Check a job that reads the file, and publish what was read; what came of it, and details."""
    result = CliRunner().invoke(cli.main, ["check", "job.yaml"])
    if not isinstance(result.exception, SystemExit | None):
        return TRACEBACK, "".join(traceback.format_exception(*result.exc_info))[-3000:]
    if result.exit_code == 2:
        said = result.output.strip()
        return ("refused", "") if said.startswith("em-impute: ") else (TRACEBACK, said)
    if result.exit_code > 2:
        return TRACEBACK, result.output
    try:
        write_again(path, file_format)
    except CannotRun:
        return "read, and refused by a target", ""
    except Exception:
        return TRACEBACK, traceback.format_exc()[-3000:]
    return "read and written again", ""


def write_again(path: Path, file_format: str) -> None:
    folder = RunFolder(path.parent)
    snapshot = take_snapshot(FileSource(path=path), folder.snapshot)
    roles = Roles(tuple(c.name for c in snapshot.columns), (), (), ())
    target = FileTarget(path=Path("out.parquet" if file_format == "feather" else "out.feather"))
    staged = fill(snapshot, None, roles, target, folder)
    schema = pa.ipc.open_file(snapshot.path.read_bytes()).schema
    for batch in read_staged(staged.path, staged.format, schema):
        batch.validate(full=True)


if __name__ == "__main__":
    # python tests/damaged_tables.py FORMAT SEED FIRST LAST FOLDER: what becomes of these files. In
    # a process of its own: one that has threads should not be forked.
    _, named, *numbers, place = sys.argv
    for found in endings(named, *map(int, numbers), Path(place)):
        print(json.dumps(asdict(found)), flush=True)
