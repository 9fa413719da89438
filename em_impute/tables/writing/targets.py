"""The target: can it be written, and the one step that publishes a table there, once.

A file takes the target's place by a rename. A folder keeps its tables in versions, and `current`, a
link that is replaced by a rename, points to the published one. So whoever looks finds either the
old table or the new one, whole, at whatever moment the machine stops. Beside it stands which runs
have published what: a run that comes again changes nothing.
"""

from __future__ import annotations

import csv
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import TypeAdapter

from em_impute.job import DatabaseTarget, FileTarget
from em_impute.job.confinement import OutsideError, confined
from em_impute.tables import spelling
from em_impute.tables.reading.arrow_files import stream_file
from em_impute.tables.reading.files import FORMAT_NAMES
from em_impute.tables.snapshot import SourceError, arrow_schema
from em_impute.tables.whole_files import read_json, reason, sha256, written_whole
from em_impute.tables.writing import merging, partitions, publications
from em_impute.tables.writing.formats import check_types as check_types
from em_impute.tables.writing.formats import open_writer as open_writer
from em_impute.tables.writing.formats import read_staged as read_staged
from em_impute.tables.writing.formats import read_texts as read_texts
from em_impute.tables.writing.formats import stored_columns
from em_impute.tables.writing.locks import check_lock, one_writer
from em_impute.tables.writing.publications import Publication, Standing
from em_impute.tables.writing.staged import TargetError as TargetError

if TYPE_CHECKING:
    from em_impute.tables.writing.staged import Staged

KEPT_VERSIONS = 3
CURRENT, VERSIONS, RECORD = "current", "versions", "_em_impute.json"
# Bytes that the names of the files beside a target are longer: `.<name>.<run>.part`.
ROOM_IN_NAMES = 40
# Publications that a target remembers, so that none is made twice: 27 years of days.
REMEMBERED = 10_000


@dataclass(frozen=True)
class Published:
    """The table that a run has put at its target.

    Attributes
    ----------
    target : str
        What the job names, in words, never with a password.
    rows : int
    sha256 : str
        Of the table's bytes.
    before : bool
        Whether it was there before: nothing was done.
    narrowed : tuple of (str, int)
        Cells that were not filled and that the target's types have changed, of each column.
    """

    target: str
    rows: int
    sha256: str
    before: bool = field(default=False, compare=False)
    narrowed: tuple[tuple[str, int], ...] = field(default=(), compare=False)

    @property
    def warning(self) -> str | None:
        """What a reader should know of cells that are not what they were."""
        if not self.narrowed:
            return None
        columns = ", ".join(f"{cells:,} of {name}" for name, cells in self.narrowed)
        return f"The types of {self.target} changed cells that were not filled: {columns}."


# --- Before the work starts --------------------------------------------------------------------


def check_target(target: FileTarget | DatabaseTarget) -> None:
    """Make sure that the target can be written; make its folder if need be.

    Raises
    ------
    TargetError
        If the target is a folder, its own folder cannot be made or written, or its database cannot
        be reached or does not let the table be written.
    """
    if isinstance(target, DatabaseTarget):
        from em_impute.tables.databases import exchange as databases

        databases.check_target(target)
        return
    place = _place(target)
    try:
        _check_name(target, place)
        _check_is_no_device(target, place)
        if target.is_folder:
            _check_is_ours(target)
        else:
            _check_is_no_folder(target)
        check_lock(_lock(target, place), str(target))
        _check_writable(place if target.is_folder else place.parent)
    except OSError as error:
        raise _unwritable(target, error) from error


def check_schema(
    schema: pa.Schema, target: FileTarget | DatabaseTarget, key: Sequence[str] = ()
) -> None:
    """Make sure that the target can hold every column of a table, whose rows have a key or none.

    Raises
    ------
    TargetError
        Naming the columns that it cannot hold, or that it needs and has not.
    """
    check_types(schema, target.file_format)
    if isinstance(target, DatabaseTarget):
        from em_impute.tables.databases import exchange as databases

        databases.check_schema(schema, target, key)
    elif target.partition_by:
        partitions.check_columns(schema, target.partition_by)


def _check_name(target: FileTarget, place: Path) -> None:
    """Refuse a name that leaves no room for those of the files beside it."""
    there = next(folder for folder in place.parents if folder.exists())
    room = 0 if target.is_folder else ROOM_IN_NAMES
    most = os.pathconf(there, "PC_NAME_MAX") - room
    if len(os.fsencode(place.name)) > most:
        raise TargetError(
            f"The target {target} has a name that is too long: there it may have {most} bytes, for "
            "the names of the files that are written beside it are longer. Choose a shorter one."
        )


def _check_is_no_device(target: FileTarget, place: Path) -> None:
    if place.exists() and not place.is_file() and not place.is_dir():
        raise TargetError(
            f"The target {target} is a device, a pipe or a socket, whose place a file would take; "
            "name a file."
        )


def _check_is_no_folder(target: FileTarget) -> None:
    if _place(target).is_dir():
        raise TargetError(
            f"The target {target} is a folder; name a file in it, or add partition_by to publish "
            "a folder of files."
        )


def _check_is_ours(target: FileTarget) -> None:
    place = _place(target)
    foreign = place.is_dir() and any(not file.name.startswith(".") for file in place.iterdir())
    if foreign and not (place / VERSIONS).is_dir():
        raise TargetError(
            f"The target {target} is a folder that em_impute has not written; name a new one."
        )
    if place.exists() and not place.is_dir():
        raise TargetError(f"The target {target} is a file; with partition_by it is a folder.")
    current = place / CURRENT
    if current.exists() and not current.is_symlink():
        raise TargetError(
            f"{current} is not the link to a version that em_impute has made; move it away, or "
            "name another target."
        )


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".em_impute."):
        pass


def _place(target: FileTarget) -> Path:
    """The file to replace: what a link points to, not the link."""
    place = Path(os.path.realpath(target.path))
    inner = [place / CURRENT, place / VERSIONS] if target.is_folder else []
    try:
        for path in (Path(target.path), *inner):
            confined(path)
    except OutsideError as outside:
        raise TargetError(f"The target {target} {outside}.") from None
    return place


def _unwritable(target: FileTarget, error: OSError) -> TargetError:
    return TargetError(
        f"The target {target} cannot be written in {_place(target).parent} "
        f"({reason(error)}); choose another folder, or change this one's permissions."
    )


# --- Publishing --------------------------------------------------------------------------------


def publish(staged: Staged, target: FileTarget | DatabaseTarget, run_id: str) -> Published:
    """Put the staged table in the target's place, in one step and once per run.

    It may be called again, after a crash at whatever moment or by a second worker: what the run has
    published already stays as it is.

    Raises
    ------
    TargetError
        If the target cannot be written, or the staged file is gone.
    TargetBusyError
        If another run is publishing there.
    MergeError
        If the table cannot be put together with the one that is there.
    DiskFullError
        If the target is on another device, which is full.
    """
    match target:
        case FileTarget():
            return _publish_files(staged, target, run_id)
        case DatabaseTarget():
            from em_impute.tables.databases import exchange as databases

            return databases.publish(staged, target, run_id, staged.key)


def find_published(target: FileTarget | DatabaseTarget, run_id: str) -> Published | None:
    """What the target itself says that a run has published there; None if nothing.

    Raises
    ------
    TargetError, OSError, ValueError
        If it cannot be asked.
    """
    if isinstance(target, DatabaseTarget):
        from em_impute.tables.databases import exchange as databases

        return databases.find_published(target, run_id)
    place = _place(target)
    history = _history(place, strict=False)
    found = _found(target, run_id, history, _content(target, place, run_id, history))
    return Published(str(target), found.rows, found.sha256, before=True) if found else None


def _publish_files(staged: Staged, target: FileTarget, run_id: str) -> Published:
    place = _place(target)
    put = _put_folder if target.is_folder else _put_file
    try:
        with one_writer(_lock(target, place), str(target), target.lock_timeout):
            history = _history(place, strict=target.mode == "append")
            now = _content(target, place, run_id, history)
            found = _found(target, run_id, history, now)
            if not found:
                history, _ = publications.in_force(history, now)
                latest = [entry.run for entry in history[:1]]
                publications.check_not_overtaken(run_id, latest, str(target))
                if not staged.path.exists():
                    raise TargetError(
                        f"The staged file {staged.path} is gone, and this run has not published to "
                        f"{target}; run the job again."
                    )
            entry = found or put(staged, target, place, run_id, history, now)
    except (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _unwritable(target, error) from error
    return Published(str(target), entry.rows, entry.sha256, before=found is not None)


def _found(
    target: FileTarget,
    run_id: str,
    history: Sequence[Publication],
    now: str | None,
) -> Publication | None:
    """What was published under this name before, if that still holds."""
    state = publications.standing(run_id, history, now)
    if state == "in doubt" and target.mode == "append":
        raise TargetError(in_doubt(target, run_id))
    # A table that has taken the place of this run's is newer.
    holds = state == "held" or (state == "replaced" and target.mode == "replace")
    return next(entry for entry in history if entry.run == run_id) if holds else None


def in_doubt(target: FileTarget | DatabaseTarget, name: str) -> str:
    """Say that nobody knows whether a target holds what was published, and what to do."""
    sentence = (
        f"Another program has changed {target} since {name} was published there, so that nobody "
        "knows whether it still holds it; nothing was done."
    )
    if target.mode != "append":
        return f"{sentence} `em-impute backfill --again` publishes it anew."
    record = "its row in em_impute_runs"
    if isinstance(target, FileTarget):
        record = str(_record_path(_place(target)))
    return (
        f"{sentence} If its rows are gone, remove {record} and run the job again; if they are "
        "there, nothing is to be done. With `mode: upsert` they would be replaced."
    )


def standing(target: FileTarget | DatabaseTarget, name: str, sha256: str) -> Standing:
    """Whether a target holds what was published there under a name, as a table of that SHA-256.

    Raises
    ------
    TargetError
        If a database cannot be reached, or does not let its table be read.
    """
    if isinstance(target, DatabaseTarget):
        from em_impute.tables.databases import exchange as databases

        return databases.standing(target, name)
    place = _place(target)
    now = _content_now(target, place)
    if now == sha256:
        return "held"
    state = publications.standing(name, _history(place, strict=False), now)
    # Of a table that is there, but without a record of it, nobody knows either.
    return "in doubt" if state == "gone" and now and target.mode == "replace" else state


def _beside(place: Path, suffix: str) -> Path:
    return place.with_name(f".{place.name}.em_impute.{suffix}")


def _lock(target: FileTarget, place: Path) -> Path:
    return place / ".em_impute.lock" if target.is_folder else _beside(place, "lock")


def _record_path(place: Path) -> Path:
    return place / CURRENT / RECORD if place.is_dir() else _beside(place, "json")


def _history(place: Path, strict: bool) -> Sequence[Publication]:
    """What is recorded of a place, the newest first.

    A record that somebody has damaged is passed over, unless `strict`: then a run that comes again
    would add its rows twice.
    """
    record = _record_path(place)
    try:
        return _RECORD.validate_python(read_json(record)).published
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):
        if strict:
            raise TargetError(
                f"The record {record} of what was appended cannot be read; it was damaged or "
                "changed by hand. See which rows the target holds, then remove the record and run "
                "the job again: without it, rows that were appended before would be again."
            ) from None
        return ()


@dataclass(frozen=True)
class _Record:
    published: tuple[Publication, ...]


_RECORD = TypeAdapter(_Record)


def _content(
    target: FileTarget, place: Path, run_id: str, history: Sequence[Publication]
) -> str | None:
    """SHA-256 of the table that is there, unless it is not needed."""
    known = any(entry.run == run_id for entry in history)
    # A folder's record is in its version, and so of no other table.
    if target.mode == "replace" and not known and (target.is_folder or not history):
        return history[0].sha256 if history else None
    return _content_now(target, place)


def _content_now(target: FileTarget, place: Path) -> str | None:
    if target.is_folder:
        current = place / CURRENT
        return _fingerprint(current) if current.is_dir() else None
    return sha256(place) if place.is_file() else None


def _record(path: Path, entries: Sequence[Publication]) -> None:
    with written_whole(path) as partial:
        content = {"published": [asdict(entry) for entry in entries[:REMEMBERED]]}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        _flush(partial)


# --- A file ------------------------------------------------------------------------------------


def _put_file(
    staged: Staged,
    target: FileTarget,
    place: Path,
    run_id: str,
    history: Sequence[Publication],
    now: str | None,
) -> Publication:
    path, rows = staged.path, staged.rows
    if target.mode != "replace" or staged.format != target.file_format:
        path, rows = _merged_file(staged, target, place)
    onto = None if target.mode == "replace" else now
    entry = Publication(run_id, rows, sha256(path), onto)
    _record(_beside(place, "json"), [entry, *history])
    _put(path, place)
    staged.path.unlink(missing_ok=True)
    return entry


def _merged_file(staged: Staged, target: FileTarget, place: Path) -> tuple[Path, int]:
    """Write the table that is there and the staged one as one, beside the staged one."""
    schema, file_format = arrow_schema(staged.path), target.file_format
    path = staged.path.with_name(f"staged.merged.{file_format}")

    exists = target.mode != "replace" and place.exists()

    def old() -> Iterator[pa.RecordBatch]:
        if not exists:
            return iter(())
        if spelling.is_spelled(schema):
            return read_texts(place, file_format, schema, staged.key)
        return read_staged(place, file_format, schema)

    if exists:
        with _damage_told(str(target), file_format):
            found, expected = stored_columns(place, file_format, spelling.plain(schema))
        merging.check_same_columns(found, expected, str(target))
    rows = 0
    with open_writer(path, file_format, schema) as writer:
        for batch in _merged(staged, target, old):
            writer.write_batch(batch)
            rows += batch.num_rows
    return path, rows


@contextmanager
def _damage_told(target: str, file_format: str) -> Iterator[None]:
    """Say of a table that is there, and is to be added to, that it cannot be read."""
    try:
        yield
    except (pa.ArrowException, csv.Error, SourceError, ValueError, TypeError, RecursionError):
        raise TargetError(
            f"The table at {target}, to which this run would add, cannot be read as "
            f"{FORMAT_NAMES[file_format]}; it was damaged or changed by another program. Bring it "
            "back, or publish with `mode: replace`."
        ) from None


def _merged(
    staged: Staged, target: FileTarget, old: Callable[[], Iterator[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """The rows to publish, in their order."""

    def new() -> Iterator[pa.RecordBatch]:
        return stream_file(staged.path, staged.format)

    match target.mode:
        case "append":
            return merging.append(old, new)
        case "upsert":
            return merging.upsert(old, new, staged.key)
    return new()


def _put(staged: Path, place: Path) -> None:
    if place.exists():
        shutil.copymode(place, staged)
    _flush(staged)
    try:
        staged.replace(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _put_across_devices(staged, place)
    _flush_folder(place.parent)


def _put_across_devices(staged: Path, place: Path) -> None:
    # A run that was killed just here has left its own; no other is here now.
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
        left.unlink(missing_ok=True)
    partial = place.with_name(f".{place.name}.{staged.parent.name}.part")
    with written_whole(place, partial):
        shutil.copyfile(staged, partial)
        shutil.copymode(staged, partial)
        _flush(partial)
    _flush_folder(place.parent)
    staged.unlink()


# --- A folder ----------------------------------------------------------------------------------


def _put_folder(
    staged: Staged,
    target: FileTarget,
    place: Path,
    run_id: str,
    history: Sequence[Publication],
    now: str | None,
) -> Publication:
    versions = place / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    _remove_versions(versions, keep=[entry.run for entry in history])
    version, partial = _free(versions, run_id), versions / f".{run_id}.part"
    rows = _write_version(staged, target, place / CURRENT, partial)
    onto = None if target.mode == "replace" else now
    entry = Publication(run_id, rows, _fingerprint(partial), onto)
    _record(partial / RECORD, [entry, *history])
    _flush_tree(partial)
    partial.rename(version)
    _flush_folder(versions)
    _point(place / CURRENT, version)
    published = [run_id, *(one.run for one in history)]
    _remove_versions(versions, keep=published[: target.keep_versions or KEPT_VERSIONS])
    staged.path.unlink()
    return entry


def _write_version(staged: Staged, target: FileTarget, current: Path, partial: Path) -> int:
    schema, by = arrow_schema(staged.path), target.partition_by or ()
    exists = target.mode != "replace" and current.exists()
    if exists:
        plain = spelling.plain(schema)
        with _damage_told(str(target), target.file_format):
            found, expected = partitions.stored_columns(current, target.file_format, plain)
        merging.check_same_columns(found, expected, str(target))

    def old() -> Iterator[pa.RecordBatch]:
        if not exists:
            return iter(())
        return partitions.read(current, target.file_format, schema, staged.key)

    return partitions.write(_merged(staged, target, old), schema, partial, target.file_format, by)


def _remove_versions(versions: Path, keep: Sequence[str]) -> None:
    """Remove all versions but some, and what a run that was stopped has left.

    What others have put there stays.
    """
    for folder in versions.iterdir():
        if folder.name.partition(".")[0] not in keep and _is_version(folder):
            shutil.rmtree(folder)


def _is_version(path: Path) -> bool:
    """Whether a run has written it, wholly or in part."""
    if path.is_symlink() or not path.is_dir():
        return False
    return (path / RECORD).exists() or (path.name.startswith(".") and path.name.endswith(".part"))


def _free(versions: Path, run_id: str) -> Path:
    """A name for a version; of what is published anew, the one before may still be read."""
    names = (run_id, *(f"{run_id}.{i}" for i in range(2, REMEMBERED)))
    return next(versions / name for name in names if not (versions / name).exists())


def _point(link: Path, version: Path) -> None:
    """Have the link `current` point to a version, from one moment to the next."""
    partial = link.with_name(f".{link.name}.part")
    partial.unlink(missing_ok=True)
    partial.symlink_to(version.relative_to(link.parent), target_is_directory=True)
    partial.replace(link)
    _flush_folder(link.parent)


def _fingerprint(folder: Path) -> str:
    """SHA-256 of the names and contents of all files under a folder that readers see."""
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if not path.name.startswith((".", "_")))
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _flush_folder(path)
        else:
            _flush(path)
    _flush_folder(folder)


# --- On the disk -------------------------------------------------------------------------------


def _flush(path: Path) -> None:
    """Have the file's bytes on the disk before its name is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # Some network file systems cannot do this for a folder; then the rename is theirs to keep.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
