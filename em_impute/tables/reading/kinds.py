"""Whether a file is of the kind that the job says, and its columns have names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from em_impute.job import DatabaseSource, DeltaSource, IcebergSource
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.snapshot import SourceError

# Each format's bytes at the start and at the end of a file.
ENDS = {"parquet": b"PAR1", "feather": b"ARROW1"}
FORMAT_NAMES = {"csv": "CSV", "parquet": "Parquet", "feather": "Feather", "jsonl": "JSON lines"}
OTHER_KINDS = {
    b"\x89PNG": "a PNG picture",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\x1f\x8b": "compressed with gzip; a name that ends in .gz says so",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; a name that ends in .zst says so",
    b"\xff\xfe": "UTF-16 text (save it as UTF-8)",
    b"\xfe\xff": "UTF-16 text (save it as UTF-8)",
    b"FEA1": "of the old Feather version 1 (write it again with a newer program)",
}
# So many of a list are named in a message.
SHOWN = 10


def _kind(path: Path) -> str:
    """Tell by its first and last bytes what a file is: a format, other words, or nothing."""
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(-min(8, path.stat().st_size), 2)
        tail = file.read()
    for file_format, magic in ENDS.items():
        if head.startswith(magic) and tail.endswith(magic):
            return file_format
    return next((words for magic, words in OTHER_KINDS.items() if head.startswith(magic)), "")


def check_kind(file: SourceFile, expected: str) -> None:
    """Refuse a file whose first and last bytes are not those of the format."""
    kind = _kind(file.path)
    if kind in ENDS and kind != expected:
        raise SourceError(
            f"{file} is a {FORMAT_NAMES[kind]} file, not {FORMAT_NAMES[expected]}; "
            f"say `format: {kind}` in the job's source."
        )
    if kind and kind != expected:
        raise SourceError(f"{file} is not a {FORMAT_NAMES[expected]} file: it is {kind}.")
    if not kind and expected in ENDS:
        raise SourceError(
            f"{file} is not a whole {FORMAT_NAMES[expected]} file: "
            f"{_missing_end(file.path, expected)}."
        )


def _missing_end(path: Path, expected: str) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        return "it is empty"
    if head.startswith(ENDS[expected]):
        return "its end is missing; it was cut short, so copy or write it again"
    return "it does not begin as one; if it is CSV, say `format: csv` in the job's source"


def check_is_text(file: SourceFile, file_format: str, quote: bytes = b'"') -> int:
    """Refuse what is not UTF-8 text, of which Arrow would make binary columns; count its quotes.

    Parameters
    ----------
    file : SourceFile
    file_format : str
        For the message.
    quote : bytes
        The character that is counted; empty if none is.
    """
    quotes = 0
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if b"\0" in line:
                raise SourceError(
                    f"{file} is not a {FORMAT_NAMES[file_format]} file: "
                    f"line {number} holds a NUL byte."
                )
            try:
                line.decode()
            except UnicodeDecodeError:
                raise SourceError(
                    f"{file}: line {number} is not UTF-8 text; save the file as UTF-8."
                ) from None
            quotes += line.count(quote) if quote else 0
    return quotes


# --- Do the columns agree? ---------------------------------------------------------------------


def check_names(
    file: SourceFile | DatabaseSource | DeltaSource | IcebergSource, names: Sequence[str]
) -> None:
    """Refuse a table without columns, or with columns that cannot be told apart."""
    if not names:
        raise SourceError(f"{file} has no columns.")
    positions: dict[str, list[str]] = {}
    for i, name in enumerate(names, 1):
        positions.setdefault(name, []).append(str(i))
    problems = [
        f"{name!r} names columns {_listed(at)}"
        if name.strip()
        else f"column {_listed(at)} has no name"
        for name, at in positions.items()
        if at[1:] or not name.strip()
    ]
    if problems:
        more = f"; and {len(problems) - SHOWN:,} more such names" if problems[SHOWN:] else ""
        raise SourceError(
            f"{file}: {'; '.join(problems[:SHOWN])}{more}. Every column needs a name of its own."
        )


def check_same_names(
    file: SourceFile, names: Sequence[str], first: SourceFile, expected: Sequence[str]
) -> None:
    """Refuse a file of a folder that has other columns than the first one; in any order.

    Parameters
    ----------
    file : SourceFile
    names : sequence of str
        Its columns.
    first : SourceFile
    expected : sequence of str
        The columns of the first file.
    """
    here, there = set(names), set(expected)
    missing = [name for name in expected if name not in here]
    extra = [name for name in names if name not in there]
    if missing or extra:
        one = f"has no column {missing[0]!r}" if missing else f"has a column {extra[0]!r}"
        other = "has" if missing else "has not"
        raise SourceError(f"{file} {one}, which {first} {other}; all files need the same columns.")


def _listed(items: Sequence[str]) -> str:
    if items[SHOWN:]:
        items = [*items[:SHOWN], f"{len(items) - SHOWN:,} more"]
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)
