"""A target of files: the one step that publishes a table there, once.

Beside it stands which runs have published what: a run that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from em_impute.job import FileTarget
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing import publications, single_file, versions
from em_impute.tables.writing.locks import one_writer
from em_impute.tables.writing.places import CURRENT, lock_of, place_of, record_of, unwritable
from em_impute.tables.writing.publications import Publication, Standing, read_record
from em_impute.tables.writing.staged import Published, Staged, TargetError


def publish(staged: Staged, target: FileTarget, run_id: str) -> Published:
    """Put the staged table in the target's place, once.

    Parameters
    ----------
    staged : Staged
    target : FileTarget
    run_id : str
        What is published is recorded under this name; the same again changes nothing.

    Raises
    ------
    TargetError, TargetBusyError, MergeError, OvertakenError, DiskFullError
    """
    place = place_of(target)
    put = versions.put if target.is_folder else single_file.put
    try:
        with one_writer(lock_of(target, place), str(target), target.lock_timeout):
            history = read_record(record_of(place), strict=target.mode == "append")
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
        raise unwritable(target, error) from error
    return Published(str(target), entry.rows, entry.sha256, before=found is not None)


def find_published(target: FileTarget, run_id: str) -> Published | None:
    """What the target's record says that a run has published there; None if nothing."""
    place = place_of(target)
    history = read_record(record_of(place), strict=False)
    found = _found(target, run_id, history, _content(target, place, run_id, history))
    return Published(str(target), found.rows, found.sha256, before=True) if found else None


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


def in_doubt(target: FileTarget, name: str) -> str:
    """Say that a target may not hold what was published there, and what to do."""
    return publications.in_doubt(target, name, str(record_of(place_of(target))))


def standing(target: FileTarget, name: str, sha256: str) -> Standing:
    """Whether a target holds what was published under a name.

    Parameters
    ----------
    target : FileTarget
    name : str
    sha256 : str
        Of the table as it was published.
    """
    place = place_of(target)
    now = _content_now(target, place)
    if now == sha256:
        return "held"
    state = publications.standing(name, read_record(record_of(place), strict=False), now)
    # Of a table that is there, but without a record of it, nobody knows either.
    return "in doubt" if state == "gone" and now and target.mode == "replace" else state


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
        return versions.fingerprint(current) if current.is_dir() else None
    return sha256(place) if place.is_file() else None
