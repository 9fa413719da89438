"""A target that is a folder: its table in versions, of which `current` is the published one.

`current` is a link that a rename replaces, so whoever looks finds the old table or the new one,
whole, at whatever moment the machine stops.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from em_impute.job import FileTarget
from em_impute.tables import spelling
from em_impute.tables.snapshot import arrow_schema
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing import merging, partitions
from em_impute.tables.writing.disk import flush_folder, flush_tree
from em_impute.tables.writing.places import CURRENT, RECORD, VERSIONS
from em_impute.tables.writing.publications import REMEMBERED, Publication, write_record
from em_impute.tables.writing.staged import Staged

KEPT_VERSIONS = 3


def put(
    staged: Staged,
    target: FileTarget,
    place: Path,
    run_id: str,
    history: Sequence[Publication],
    now: str | None,
) -> Publication:
    """Publish a staged table as the next version.

    Parameters
    ----------
    staged : Staged
    target : FileTarget
    place : Path
        The target's folder, behind all links.
    run_id : str
    history : sequence of Publication
        What has led to the table that is there, the newest first.
    now : str or None
        The fingerprint of that table, as far as it is needed.
    """
    versions = place / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    _remove_versions(versions, keep=[entry.run for entry in history])
    version, partial = _free(versions, run_id), versions / f".{run_id}.part"
    rows = _write(staged, target, place / CURRENT, partial)
    onto = None if target.mode == "replace" else now
    entry = Publication(run_id, rows, fingerprint(partial), onto)
    write_record(partial / RECORD, [entry, *history])
    flush_tree(partial)
    partial.rename(version)
    flush_folder(versions)
    point(place / CURRENT, version)
    published = [run_id, *(one.run for one in history)]
    _remove_versions(versions, keep=published[: target.keep_versions or KEPT_VERSIONS])
    staged.path.unlink()
    return entry


def _write(staged: Staged, target: FileTarget, current: Path, partial: Path) -> int:
    schema, by = arrow_schema(staged.path), target.partition_by or ()
    exists = target.mode != "replace" and current.exists()
    if exists:
        plain = spelling.plain(schema)
        merging.check_fits(
            target, lambda: partitions.stored_columns(current, target.file_format, plain)
        )

    def old() -> Iterator[pa.RecordBatch]:
        if not exists:
            return iter(())
        return partitions.read(current, target.file_format, schema, staged.key)

    rows = merging.merged(staged, target, old)
    return partitions.write(rows, schema, partial, target.file_format, by)


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


def point(link: Path, version: Path) -> None:
    """Have the link `current` point to a version, from one moment to the next."""
    partial = link.with_name(f".{link.name}.part")
    partial.unlink(missing_ok=True)
    partial.symlink_to(version.relative_to(link.parent), target_is_directory=True)
    partial.replace(link)
    flush_folder(link.parent)


def fingerprint(folder: Path) -> str:
    """SHA-256 of the names and contents of all files under a folder that readers see."""
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if not path.name.startswith((".", "_")))
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()
