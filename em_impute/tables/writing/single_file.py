"""A target of one file: the staged table, or it and the one that is there, takes its place.

It does so by a rename, so whoever looks finds the old table or the new one, whole, at whatever
moment the machine stops.
"""

from __future__ import annotations

import errno
import glob
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from em_impute.job import FileTarget
from em_impute.tables import spelling
from em_impute.tables.snapshot import arrow_schema
from em_impute.tables.whole_files import sha256, written_whole
from em_impute.tables.writing import formats, merging
from em_impute.tables.writing.disk import flush, flush_folder
from em_impute.tables.writing.places import beside
from em_impute.tables.writing.publications import Publication, write_record
from em_impute.tables.writing.staged import Staged


def put(
    staged: Staged,
    target: FileTarget,
    place: Path,
    run_id: str,
    history: Sequence[Publication],
    now: str | None,
) -> Publication:
    """Publish a staged table.

    Parameters
    ----------
    staged : Staged
    target : FileTarget
    place : Path
        Where the target is, behind all links.
    run_id : str
    history : sequence of Publication
        What has led to the table that is there, the newest first.
    now : str or None
        SHA-256 of that table, as far as it is needed.
    """
    path, rows = staged.path, staged.rows
    if target.mode != "replace" or staged.format != target.file_format:
        path, rows = _merged(staged, target, place)
    onto = None if target.mode == "replace" else now
    entry = Publication(run_id, rows, sha256(path), onto)
    write_record(beside(place, "json"), [entry, *history])
    take_place(path, place)
    staged.path.unlink(missing_ok=True)
    return entry


def _merged(staged: Staged, target: FileTarget, place: Path) -> tuple[Path, int]:
    """Write the table that is there and the staged one as one, beside the staged one."""
    schema, file_format = arrow_schema(staged.path), target.file_format
    path = staged.path.with_name(f"staged.merged.{file_format}")

    exists = target.mode != "replace" and place.exists()

    def old() -> Iterator[pa.RecordBatch]:
        if not exists:
            return iter(())
        if spelling.is_spelled(schema):
            return formats.read_texts(place, file_format, schema, staged.key)
        return formats.read_staged(place, file_format, schema)

    if exists:
        plain = spelling.plain(schema)
        merging.check_fits(target, lambda: formats.stored_columns(place, file_format, plain))
    rows = 0
    with formats.open_writer(path, file_format, schema) as writer:
        for batch in merging.merged(staged, target, old):
            writer.write_batch(batch)
            rows += batch.num_rows
    return path, rows


def take_place(staged: Path, place: Path) -> None:
    """Put a file where another may be, in one step."""
    if place.exists():
        shutil.copymode(place, staged)
    flush(staged)
    try:
        staged.replace(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _take_place_across_devices(staged, place)
    flush_folder(place.parent)


def _take_place_across_devices(staged: Path, place: Path) -> None:
    # A run that was killed just here has left its own; no other is here now.
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
        left.unlink(missing_ok=True)
    partial = place.with_name(f".{place.name}.{staged.parent.name}.part")
    with written_whole(place, partial):
        shutil.copyfile(staged, partial)
        shutil.copymode(staged, partial)
        flush(partial)
    flush_folder(place.parent)
    staged.unlink()
