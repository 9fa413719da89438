"""The files of a source: which there are, whether they are what the job says, and stay so.

A source is one file, or a folder of them, here or at a URL. What lies at a URL is copied beside the
snapshot first, so that readers meet local files only.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pa_fs

from em_impute.job import DatabaseSource, FileSource
from em_impute.job.confinement import OutsideError, check_url, confined
from em_impute.tables.snapshot import SourceError
from em_impute.tables.whole_files import reason

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
# How Hive, and Arrow with it, spells a missing value in a folder's name.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
# So many of a list are named in a message.
SHOWN = 10
State = tuple[int | None, ...]
INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes
    ----------
    path : Path
        Where it is read.
    name : str
        What messages call it.
    partition : mapping of str to str
        The values that its folders' names give, as ``year=2024`` does.
    """

    path: Path
    name: str
    partition: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@contextmanager
def opened(source: FileSource, work: Path) -> Iterator[Sequence[SourceFile]]:
    """Yield the files of a source, in the order of their names, and see that they do not change.

    Parameters
    ----------
    source : FileSource
    work : Path
        Folder for the copies of remote files, which are removed at the end.

    Raises
    ------
    SourceError
        If there is no such file or folder, or if it changed before the end of the block.
    """
    if isinstance(source.path, str):
        # A try of this run that was killed has left its copy.
        for left in work.glob(".source.*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".source.", dir=work) as folder:
            yield _copied(source.path, Path(folder))
        return
    # `current` of a versioned folder is a link: what it points to now is read to the end.
    name = str(source.path)
    place = _confined(source.path, name)
    try:
        place = place.resolve() if place.is_dir() else place
    except OSError as error:  # a name that is too long for any file
        raise SourceError(f"{name} cannot be read: {reason(error)}.") from None
    files = _files_of(place, name)
    before = _states(files)
    try:
        yield files
    finally:
        # Also where reading failed: a file that changes is the better reason.
        _check_unchanged(place, name, before)


def _files_of(path: Path, name: str) -> list[SourceFile]:
    if not path.is_dir():
        _check_is_file(path)
        return [SourceFile(path, name)]
    if (path / "current").is_symlink():
        raise SourceError(f"{name} keeps a table in versions; read {name}/current.")
    files = members(path, name)
    if not files:
        raise SourceError(_no_files(name))
    for file in files:
        _check_is_file(file.path)
    return files


def members(folder: Path, name: str = "") -> list[SourceFile]:
    """All files under a folder, with the values that the names of their folders give.

    Raises
    ------
    SourceError
        If a link among them leads to where jobs may not go, or if there is anything that is no file
        and no folder that can be read: its rows would be lost.
    """
    shown = name or str(folder)
    found = (_member(folder, file, shown) for file in sorted(_listing(folder, "", shown)))
    return [replace(file, path=_confined(file.path, file.name)) for file in found]


def _confined(path: Path, name: str) -> Path:
    try:
        return confined(path)
    except OutsideError as outside:
        raise SourceError(f"{name} {outside}.") from None


def _no_files(folder: str) -> str:
    return f"{folder} is a folder without files; names that begin with . or _ do not count."


def _listing(folder: Path, inner: str, shown: str) -> Iterator[str]:
    """Names of all files under a folder, relative to it; `inner` is where in it to look."""
    try:
        entries = list(os.scandir(folder / inner))
    except OSError as error:
        raise SourceError(
            f"{printable(_path_in(shown, inner))} cannot be read: {reason(error)}. Every folder in "
            "a source has to be readable, or its rows would be lost."
        ) from None
    for entry in entries:
        name = f"{inner}/{entry.name}".lstrip("/")
        if _hidden(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _listing(folder, name, shown)
        elif entry.is_file():
            if not _is_text(entry.name):
                raise SourceError(
                    f"{printable(_path_in(shown, name))}: the name of this file is not UTF-8 text; "
                    "rename it."
                )
            yield name
        else:
            raise SourceError(
                f"{printable(_path_in(shown, name))} is {_oddity(entry)}; a source is read from "
                "files and the folders that they are in. Remove it, or name it with a leading . or "
                "_, as what does not count."
            )


def _path_in(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}".rstrip("/")


def _oddity(entry: os.DirEntry[str]) -> str:
    """What it is that is neither a file nor a folder."""
    if not entry.is_symlink():
        return "a device, a pipe or a socket"
    if entry.is_dir():
        return "a link to a folder"
    return "a link to a device or a pipe" if Path(entry).exists() else "a link to nothing"


def _is_text(name: str) -> bool:
    """Whether a name is text, and not bytes that are none."""
    with suppress(UnicodeEncodeError):
        return bool(name.encode())
    return False


def _hidden(name: str) -> bool:
    """Whether Arrow and Spark would pass it by: marks of other programs, half-written files.

    A ``..`` in the name of a file in an archive, which would lead out of the folder of copies, too.
    """
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _member(folder: Path, name: str, shown_folder: str) -> SourceFile:
    pairs = (part.partition("=") for part in PurePosixPath(name).parent.parts if "=" in part)
    shown = _path_in(shown_folder, name)
    partition = {_unquoted(key, shown): _unquoted(value, shown) for key, _, value in pairs}
    return SourceFile(folder / name, shown, partition)


def _unquoted(text: str, name: str) -> str:
    try:
        unquoted = unquote(text, errors="strict")
        unquoted.encode()  # not so where the name's own bytes are not UTF-8
    except UnicodeError:
        raise SourceError(
            f"{printable(name)}: the name of its folder is not UTF-8 text; rename the folder."
        ) from None
    return unquoted


def printable(name: str) -> str:
    """A file's name as it can be shown, whatever its bytes are."""
    return name.encode(errors="backslashreplace").decode()


def _check_is_file(path: Path) -> None:
    try:
        if path.exists() and not path.is_file():
            raise SourceError(f"{path} is a device or a pipe; a source is a file or a folder.")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path}: no such file{_where_it_was_looked_for(path)}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {reason(error)}.") from error


def _where_it_was_looked_for(path: Path) -> str:
    folder = path.parent.absolute()
    if not folder.is_dir():
        return f"; the folder {folder} does not exist. The program was started in {Path.cwd()}."
    near: list[str] = []
    with suppress(OSError):  # a folder that may be entered but not listed
        names = filter(_is_text, (file.name for file in folder.iterdir()))
        near = difflib.get_close_matches(path.name, list(names))
    return f" in {folder}." + (f" Did you mean {' or '.join(near)}?" if near else "")


# --- Does it stay as it is? --------------------------------------------------------------------


def _states(files: Sequence[SourceFile]) -> dict[str, State]:
    """What of each file changes whenever somebody writes to it or puts another in its place."""
    stats = {file.name: file.path.stat() for file in files}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns) for name, s in stats.items()}


def _check_unchanged(path: Path, name: str, before: Mapping[str, State]) -> None:
    try:
        now = _states(_files_of(path, name))
    except (SourceError, OSError):
        now = {}
    if changed := before.items() ^ now.items():
        raise SourceError(_changed(min(file for file, _ in changed)))


def _changed(name: str) -> str:
    return (
        f"{name} was changed while it was read; run the job when the source is complete, or have "
        "it written elsewhere and moved into place."
    )


# --- At a URL ----------------------------------------------------------------------------------


def _copied(url: str, folder: Path) -> list[SourceFile]:
    """Copy the file, or all files under the folder, at a URL into a local folder."""
    try:
        check_url(url)
        filesystem, root = _filesystem(url)
        before = _remote_files(filesystem, root, url)
        for name in before:
            _copy(filesystem, f"{root}/{name}" if name else root, folder / (name or "file"))
        changed = before.items() ^ _remote_files(filesystem, root, url).items()
    except OutsideError as outside:
        raise SourceError(f"{url} {outside}.") from None
    except FileNotFoundError:
        raise SourceError(f"{url}: no such file or folder.") from None
    except OSError as error:
        raise OSError(
            f"{url} cannot be read ({reason(error)}); credentials come from the environment, such "
            "as AWS_ACCESS_KEY_ID or GOOGLE_APPLICATION_CREDENTIALS."
        ) from error
    if changed:
        raise SourceError(_changed(f"{url}/{min(name for name, _ in changed)}".rstrip("/")))
    if before.keys() == {""}:
        return [SourceFile(folder / "file", url)]
    return [_member(folder, name, url) for name in before]


def _filesystem(url: str) -> tuple[pa_fs.FileSystem, str]:
    """The filesystem of a URL, of Arrow's own or through fsspec, and the path in it."""
    scheme = url.partition(":")[0]
    if scheme in {"file", "s3", "gs", "gcs", "hdfs", "abfs"}:
        filesystem, path = pa_fs.FileSystem.from_uri(url)
        return filesystem, path.rstrip("/")
    import fsspec  # not Arrow's: asked only for the schemes that Arrow does not know

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError):
        raise SourceError(
            f"{url}: files of {scheme}:// cannot be read here; install the package of fsspec for "
            "it (see https://filesystem-spec.readthedocs.io), or copy the file."
        ) from None
    return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(filesystem)), path.rstrip("/")


def _remote_files(filesystem: pa_fs.FileSystem, root: str, url: str) -> dict[str, State]:
    """Each file's size and time by its name under `root`; the root itself has an empty name."""
    info = filesystem.get_file_info(root)
    if info.type == pa_fs.FileType.NotFound:
        raise FileNotFoundError(url)
    if info.type == pa_fs.FileType.File:
        return {"": (info.size, info.mtime_ns)}
    infos = filesystem.get_file_info(pa_fs.FileSelector(root, recursive=True))
    named = {info.path.removeprefix(root).strip("/"): info for info in infos}
    counted = {name: named[name] for name in sorted(named) if not _hidden(name)}
    for name, info in counted.items():
        if info.type not in (pa_fs.FileType.File, pa_fs.FileType.Directory):
            raise SourceError(
                f"{url.rstrip('/')}/{name} is neither a file nor a folder; a source is read from "
                "files and the folders that they are in."
            )
    files: dict[str, State] = {
        name: (info.size, info.mtime_ns)
        for name, info in counted.items()
        if info.type == pa_fs.FileType.File
    }
    if not files:
        raise SourceError(_no_files(url))
    return files


def _copy(filesystem: pa_fs.FileSystem, remote: str, local: Path) -> None:
    local.parent.mkdir(parents=True, exist_ok=True)
    with filesystem.open_input_stream(remote, compression=None) as stream, local.open("wb") as file:
        shutil.copyfileobj(stream, file, 2**20)


# --- Of which kind is it? ----------------------------------------------------------------------


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
    """Refuse what is not UTF-8 text, of which Arrow would make binary columns; count its quotes."""
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


def check_names(file: SourceFile | DatabaseSource, names: Sequence[str]) -> None:
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
    """Refuse a file of a folder that has other columns than the first one; in any order."""
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


def partition_fields(files: Sequence[SourceFile], names: Sequence[str]) -> list[pa.Field]:
    """The columns that folders' names give: int32 where each value is spelt as one, else text.

    Raises
    ------
    SourceError
        If files lie in folders of other names than the first, or a file has such a column itself.
    """
    keys = list(files[0].partition)
    for file in files:
        if list(file.partition) != keys:
            raise SourceError(
                f"{file}: its folders name {_keys(list(file.partition))}, but those of {files[0]} "
                f"name {_keys(keys)}; all files need the same."
            )
    if both := [key for key in keys if key in names]:
        raise SourceError(
            f"{files[0]}: column {both[0]!r} is in the file and in the name of its folder too; "
            "remove one of them."
        )
    return [pa.field(key, _partition_type([file.partition[key] for file in files])) for key in keys]


def _keys(keys: Sequence[str]) -> str:
    return "/".join(f"{key}=" for key in keys) or "no columns"


def _partition_type(values: Sequence[str]) -> pa.DataType:
    known = [value for value in values if value != HIVE_NULL]
    return pa.int32() if known and all(map(_spells_int32, known)) else pa.string()


def _spells_int32(value: str) -> bool:
    """Whether a value is a number and nothing else: 007 is not 7."""
    number = re.fullmatch(r"-?\d{1,10}", value, re.ASCII)
    return bool(number) and int(value) in INT32 and str(int(value)) == value


def with_partition(
    batch: pa.RecordBatch, file: SourceFile, fields: Sequence[pa.Field]
) -> pa.RecordBatch:
    """Put the values that the file's folders name behind its columns."""
    for column in fields:
        text = file.partition[column.name]
        value = pa.scalar(None if text == HIVE_NULL else text, pa.string()).cast(column.type)
        batch = batch.append_column(column, pa.repeat(value, batch.num_rows))
    return batch
