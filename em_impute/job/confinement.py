"""The folders that jobs may use, where the environment variable EM_IMPUTE_ROOT names any.

Every path that a job or a run's parameters name is led through here: when the job is read, so that
the mistake is reported at its line, and once more when the path is opened, because a link can have
changed since. Without the variable a job may name any path.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = "EM_IMPUTE_ROOT"
CODE_ROOT = "EM_IMPUTE_CODE_ROOT"

# Arrow reads these itself. All other URLs are fsspec's, which knows local://, archives and caches
# of this machine too.
_STORES = ("s3", "gs", "gcs", "hdfs", "abfs")


class OutsideError(ValueError):
    """A place where a job may not go: the rest of a sentence, which does not repeat the path."""


def roots(variable: str = ROOT) -> tuple[Path, ...]:
    """The folders that jobs may use, links followed; none if every path is allowed.

    Raises
    ------
    OutsideError
        If the variable is set to anything but existing folders: a typo must not open all paths.
    """
    value = os.environ.get(variable)
    if value is None:
        return ()
    folders = [Path(folder) for folder in value.split(os.pathsep)]
    if not all(folder.is_absolute() and folder.is_dir() for folder in folders):
        raise OutsideError(
            f"cannot be used: the environment variable {variable} ({value!r}) must list existing "
            f"folders, as absolute paths with {os.pathsep} between them; correct it or unset it"
        )
    return tuple(Path(os.path.realpath(folder)) for folder in folders)


def confined(path: Path) -> Path:
    """Where a path leads, if a job may go there.

    Returns
    -------
    Path
        With every link and ``..`` followed; the path as it is if every path is allowed.

    Raises
    ------
    OutsideError
    """
    allowed = roots()
    if not allowed:
        return path
    place = Path(os.path.realpath(path))
    if any(place.is_relative_to(root) for root in allowed):
        return place
    folders = os.pathsep.join(map(str, allowed))
    begins = "" if path.is_absolute() else f" (a relative path begins in {Path.cwd()})"
    raise OutsideError(
        f"leads out of the folders that jobs may use, {folders}{begins}; name a path inside, or "
        f"have its folder added to {ROOT} where em_impute is started"
    )


def holding_code(folder: Path) -> Path:
    """Where a folder leads whose files may have code run, if a job may name it.

    Where jobs are confined, EM_IMPUTE_CODE_ROOT lists such folders, which jobs must not write to.

    Raises
    ------
    OutsideError
    """
    if not roots():
        return folder
    place = Path(os.path.realpath(folder))
    if any(place.is_relative_to(root) for root in roots(CODE_ROOT)):
        return place
    raise OutsideError(
        f"a project of Great Expectations can have code run: where {ROOT} is set, it lies in one "
        f"of the folders that {CODE_ROOT} lists where em_impute is started"
    )


def check_url(url: str) -> None:
    """Refuse a URL that may lead to a file of this machine, where jobs are confined to folders.

    Raises
    ------
    OutsideError
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in _STORES and roots():
        raise OutsideError(
            f"is a URL that can lead out of the folders that jobs may use; where {ROOT} is set, "
            f"a URL begins with {', '.join(f'{store}://' for store in _STORES)}"
        )
