"""Files of text as they come: compressed, in another encoding, with lines before the header.

What a file says of itself is done without being asked: by its name and first bytes that it is
compressed, by a mark that it is UTF-16, by Excel's line ``sep=;`` what stands between fields. All
else the job has to say; `proposal` tells what it might.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa

from em_impute.job import CsvOptions, FileSource
from em_impute.tables.reading.files import SourceFile
from em_impute.tables.snapshot import SourceError
from em_impute.tables.whole_files import written_whole

# The first bytes of what a file's name says it is compressed with.
_COMPRESSION = {
    ".gz": ("gzip", b"\x1f\x8b"),
    ".zst": ("zstd", b"\x28\xb5\x2f\xfd"),
    ".bz2": ("bz2", b"BZh"),
}
_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
# So many lines are looked at to tell how a file is written.
_LOOK = 100
_UTF_8 = ("utf-8", "utf-8-sig", "ascii")


@contextmanager
def plain_files(
    files: Sequence[SourceFile], source: FileSource, work: Path
) -> Iterator[tuple[Sequence[SourceFile], CsvOptions]]:
    """Yield the files of a source as UTF-8 that begins with the header, and how they are written.

    Those that are not so already are copied into the folder `work`.

    Parameters
    ----------
    files : sequence of SourceFile
    source : FileSource
    work : Path
        Folder for the copies.

    Raises
    ------
    SourceError
        If a file is not compressed, or not encoded, as its name or the job says.
    """
    options = source.csv
    if not source.is_text:
        yield files, options
        return
    with tempfile.TemporaryDirectory(prefix=".source.", dir=work) as folder:
        plain = []
        for number, file in enumerate(files):
            found, separator = _plain(file, source, Path(folder) / str(number))
            plain.append(found)
            options = options.model_copy(update={"delimiter": separator or options.delimiter})
        yield plain, options


def _plain(file: SourceFile, source: FileSource, copy: Path) -> tuple[SourceFile, str]:
    """A file in plain text, and the delimiter that its first line says; empty if it says none."""
    compressed = _compression(file)
    options = source.csv
    with _bytes(file, compressed) as stream:
        head = _head(stream, file, compressed)
    encoding = next((e for mark, e in _MARKS.items() if head.startswith(mark)), options.encoding)
    first = head.decode(encoding, "replace").lstrip("\ufeff").partition("\n")[0]
    separator = _SEPARATOR.fullmatch(first) if source.file_format == "csv" else None
    skip = max(options.skip_rows, 1 if separator else 0)
    if not (compressed or skip or options.comment or encoding not in _UTF_8):
        return file, ""
    with (
        _bytes(file, compressed) as stream,
        written_whole(copy) as partial,
        partial.open("wb") as target,
    ):
        try:
            if skip or options.comment or encoding not in _UTF_8:
                lines = io.TextIOWrapper(io.BufferedReader(stream), encoding, newline="")
                kept = _without_comments(islice(lines, skip, None), options)
                target.writelines(line.removeprefix("\ufeff").encode() for line in kept)
            else:
                shutil.copyfileobj(stream, target, 2**20)
        except UnicodeError:
            raise SourceError(
                f"{file} is not text in {encoding}; say in the job how it is encoded, for example "
                "`csv: {encoding: cp1252}`."
            ) from None
        except (OSError, EOFError, pa.ArrowInvalid) as error:
            if not compressed or (isinstance(error, OSError) and error.errno):
                raise
            raise SourceError(_damaged(file, compressed)) from None
    return replace(file, path=copy), separator[1] if separator else ""


def _compression(file: SourceFile) -> str:
    name = urlsplit(file.name).path if "://" in file.name else file.name
    suffix = PurePosixPath(name).suffix.lower()
    kind, magic = _COMPRESSION.get(suffix, ("", b""))
    if kind:
        with file.path.open("rb") as opened:
            if opened.read(len(magic)) != magic:
                raise SourceError(f"{file} is not compressed with {kind}, as its name says.")
    return kind


def _bytes(file: SourceFile, compressed: str) -> Any:
    return pa.input_stream(str(file.path), compression=compressed or None)


def _head(stream: BinaryIO, file: SourceFile, compressed: str) -> bytes:
    try:
        return stream.read(4096)
    except (OSError, pa.ArrowInvalid) as error:
        if not compressed:
            raise
        raise SourceError(_damaged(file, compressed)) from error


def _damaged(file: SourceFile, compressed: str) -> str:
    return f"{file} is damaged or cut short: it cannot be read as {compressed}. Copy it again."


def _without_comments(lines: Iterable[str], options: CsvOptions) -> Iterator[str]:
    """The lines without those that begin as comments do, but for lines within quotes."""
    comment, quote, quoted = options.comment, options.quote, False
    for line in lines:
        if not quoted and comment and line.startswith(comment):
            continue
        quoted ^= bool(quote) and line.count(str(quote)) % 2 == 1
        yield line


# --- How might it be written? ------------------------------------------------------------------


def proposal(file: SourceFile, options: CsvOptions) -> str:
    """A sentence on what to write into the job for a file that is not as it says; may be empty."""
    if not file.path.exists():
        return ""
    with file.path.open("rb") as stream:
        lines = list(islice(stream, _LOOK))
        others = islice((line for line in stream if not line.isascii()), _LOOK)
        changes = _encoding([*lines, *others])
    text = [line.decode(changes.get("encoding", "utf-8"), "replace") for line in lines]
    changes |= _layout(text, options)
    if not changes:
        return ""
    written_as = options.model_dump(exclude_defaults=True) | changes
    written = ", ".join(_yaml(*item) for item in written_as.items())
    return f" Try `csv: {{{written}}}` in the job's source."


def _yaml(key: str, value: object) -> str:
    if isinstance(value, str) and not value.replace("-", "").isalnum():
        value = '"\\t"' if value == "\t" else f'"{value}"' if value != '"' else "'\"'"
    return f"{key}: {str(value).lower() if isinstance(value, bool) else value}"


def _encoding(lines: Sequence[bytes]) -> dict[str, Any]:
    text = b"".join(lines)
    zeros = [text[start::2].count(0) / max(len(text[start::2]), 1) for start in (0, 1)]
    if max(zeros) > 0.4:
        return {"encoding": "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"}
    for encoding in ("utf-8", "cp1252"):
        try:
            text.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding == "utf-8" and error.end >= len(text):
                return {}
            continue
        return {} if encoding == "utf-8" else {"encoding": encoding}
    return {"encoding": "latin-1"}


def _layout(lines: Sequence[str], options: CsvOptions) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if options.comment is None and any(line.startswith("#") for line in lines):
        without = [line for line in lines if not line.startswith("#")]
        if len(without) > 1:
            lines, changes = without, {"comment": "#"}
    offers = dict.fromkeys((options.delimiter, ",", ";", "\t", "|"))
    found = {delimiter: _table(lines, delimiter, options) for delimiter in offers}
    tables = {delimiter: table for delimiter, table in found.items() if table}
    if not tables:
        return {}
    best = max(tables, key=lambda d: (len(tables[d][1]), len(tables[d][1][0])))
    start, rows = tables[best]
    if best != options.delimiter:
        changes["delimiter"] = best
    if start:
        changes["skip_rows"] = options.skip_rows + start
    return changes | _numbers([cell for row in rows[1:] for cell in row], best)


def _table(
    lines: Sequence[str], delimiter: str, options: CsvOptions
) -> tuple[int, list[list[str]]] | None:
    """At which line rows of equal length begin, and these; None if they are not most of all."""
    reader = csv.reader(lines, delimiter=delimiter, quotechar=options.quote or '"')
    rows, starts, line = [], [], 0
    try:
        for row in reader:
            rows.append(row)
            starts.append(line)
            line = reader.line_num
    except csv.Error:
        return None
    if len(lines) == _LOOK:
        rows.pop()  # it may go on
    full = [(start, row) for start, row in zip(starts, rows, strict=False) if row]
    if not full or (width := len(full[-1][1])) < 2:
        return None
    last = max((i for i, (_, row) in enumerate(full) if len(row) != width), default=-1)
    table = full[last + 1 :]
    enough = len(table) > max(1, len(full) // 2)
    return (table[0][0], [row for _, row in table]) if enough else None


def _numbers(cells: Sequence[str], delimiter: str) -> dict[str, str]:
    """What stands in numbers for the decimal point, and between thousands."""
    comma = [c for c in cells if re.fullmatch(r"\s*[+-]?\d[\d.  ']*,\d+\s*", c)]
    point = [c for c in cells if re.fullmatch(r"\s*[+-]?\d*\.\d+\s*", c)]
    if len(comma) <= len(point) or delimiter == ",":
        return {}
    groups = (re.search(r"\d([.  '])\d{3}(?!\d)", cell) for cell in comma)
    thousands = next((group[1] for group in groups if group), None)
    return {"decimal": ","} | ({"thousands": thousands} if thousands else {})
