"""One writer at a time per target.

The lock is the operating system's, held on a file beside the target: it goes with the process that
holds it, however that ends, so no lock is ever stale and none has to be removed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from em_impute.job import CannotRun


class TargetBusyError(CannotRun):
    """Another run is publishing to the same target."""


def check_lock(lock: Path, target: str) -> None:
    """Make sure that a lock can be held: that it is not there yet, or a plain file.

    Raises
    ------
    CannotRun
    """
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        raise CannotRun(
            f"The lock of {target}, {lock}, is not a plain file but a link, a folder or the like; "
            "remove it and run the job again."
        )


@contextmanager
def one_writer(lock: Path, target: str, seconds: float) -> Iterator[None]:
    """Hold the lock file of a target; wait for another run that holds it.

    Parameters
    ----------
    lock : Path
    target : str
        As the message names it.
    seconds : float
        How long to wait.

    Raises
    ------
    TargetBusyError
        If the other run has not finished after so many seconds.
    CannotRun
        If something else stands where the lock should.
    """
    check_lock(lock, target)
    try:
        with FileLock(lock, timeout=seconds):
            yield
    except Timeout:
        raise TargetBusyError(
            f"Another run has been publishing to {target} for more than {seconds:g} seconds; run "
            "the job again when it has finished, or raise target.lock_timeout."
        ) from None
