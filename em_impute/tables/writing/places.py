"""Where a target's file or folder is, what stands beside it, and whether it can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from em_impute.job import FileTarget
from em_impute.job.confinement import OutsideError, confined
from em_impute.tables.whole_files import reason
from em_impute.tables.writing.locks import check_lock
from em_impute.tables.writing.staged import TargetError

# In the folder of a target that is one: the link to the published version, all versions, and the
# record in each.
CURRENT, VERSIONS, RECORD = "current", "versions", "_em_impute.json"
# Bytes that the names of the files beside a target are longer: `.<name>.<run>.part`.
ROOM_IN_NAMES = 40


def place_of(target: FileTarget) -> Path:
    """The file or folder to replace: what a link points to, not the link.

    Raises
    ------
    TargetError
        If jobs may not write there.
    """
    place = Path(os.path.realpath(target.path))
    inner = [place / CURRENT, place / VERSIONS] if target.is_folder else []
    try:
        for path in (Path(target.path), *inner):
            confined(path)
    except OutsideError as outside:
        raise TargetError(f"The target {target} {outside}.") from None
    return place


def lock_of(target: FileTarget, place: Path) -> Path:
    """The file that whoever publishes there locks."""
    return place / ".em_impute.lock" if target.is_folder else beside(place, "lock")


def record_of(place: Path) -> Path:
    """The file that says what was published there."""
    return place / CURRENT / RECORD if place.is_dir() else beside(place, "json")


def beside(place: Path, suffix: str) -> Path:
    """A hidden file beside that of a target."""
    return place.with_name(f".{place.name}.em_impute.{suffix}")


def check(target: FileTarget) -> None:
    """Make sure that a target can be written; make its folder if need be.

    Raises
    ------
    TargetError
        If something else is there, or its folder cannot be made or written.
    """
    place = place_of(target)
    try:
        _check_name(target, place)
        _check_is_no_device(target, place)
        if target.is_folder:
            _check_is_ours(target, place)
        elif place.is_dir():
            raise TargetError(
                f"The target {target} is a folder; name a file in it, or add partition_by to "
                "publish a folder of files."
            )
        check_lock(lock_of(target, place), str(target))
        check_writable(place if target.is_folder else place.parent)
    except OSError as error:
        raise unwritable(target, error) from error


def _check_name(target: FileTarget, place: Path) -> None:
    """Refuse a name that leaves no room for those of the files beside it."""
    there = next(folder for folder in place.parents if folder.exists())
    room = 0 if target.is_folder else ROOM_IN_NAMES
    most = os.pathconf(there, "PC_NAME_MAX") - room
    if len(os.fsencode(place.name)) > most:
        raise TargetError(
            f"The target {target} has a name that is too long: it may have {most} bytes, because "
            "the files that are written beside it have longer ones. Choose a shorter name."
        )


def _check_is_no_device(target: FileTarget, place: Path) -> None:
    if place.exists() and not place.is_file() and not place.is_dir():
        raise TargetError(
            f"The target {target} is a device, a pipe or a socket, which a file would replace; "
            "name a file."
        )


def _check_is_ours(target: FileTarget, place: Path) -> None:
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


def check_writable(folder: Path) -> None:
    """Make a folder if it is not there, and see that files can be made in it.

    Raises
    ------
    OSError
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".em_impute."):
        pass


def unwritable(target: FileTarget, error: OSError) -> TargetError:
    """What is raised where the system lets nobody write."""
    return TargetError(
        f"The target {target} cannot be written in {place_of(target).parent} "
        f"({reason(error)}); choose another folder, or change this one's permissions."
    )
