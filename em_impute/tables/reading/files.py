"""The files of a source: which there are, whether they are what the job says, and stay so.

A source is one file, or a folder of them, here or at a URL. What lies at a URL is copied beside the
snapshot first, so that readers meet local files only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow.fs as pa_fs

from em_impute.job import FileSource
from em_impute.job.confinement import OutsideError, check_url, confined
from em_impute.job.legible import file_name
from em_impute.job.mistakes import nearest
from em_impute.tables.snapshot import SourceError
from em_impute.tables.whole_files import reason

State = tuple[int | None, ...]


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
    if (path / "_delta_log").is_dir():
        raise SourceError(
            f"{name} is a Delta table, whose folder holds the files of other versions, too; say "
            "`format: delta` in the job's source."
        )
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
            f"{file_name(_path_in(shown, inner))} cannot be read: {reason(error)}. Every folder in "
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
                    f"{file_name(_path_in(shown, name))}: the name of this file is not UTF-8 text; "
                    "rename it."
                )
            yield name
        else:
            raise SourceError(
                f"{file_name(_path_in(shown, name))} is {_oddity(entry)}; a source is read from "
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
            f"{file_name(name)}: the name of its folder is not UTF-8 text; rename the folder."
        ) from None
    return unquoted


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
        near = nearest(path.name, names, most=3)
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
