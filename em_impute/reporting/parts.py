"""What a run leaves is made in parts, each by itself: one that fails is named, the others are made.

Such parts are the sections and pictures of the report, its files, the artifacts and the events. The
table is where it is by then, and no fault in telling of it may say that it is not.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")

PACKAGE = Path(__file__).parents[1]
# A file system that fails is asked again after so many seconds each.
PAUSES = (0.5, 1.0)
# In a sentence there is room for so many parts.
MOST_NAMED = 5


@dataclass(frozen=True)
class Failure:
    """A part that could not be made.

    Attributes
    ----------
    part : str
        Which, such as "section drift".
    reason : str
        The kind of the error and its place in the program. Its message is left out, for that may
        quote a cell.
    """

    part: str
    reason: str


class Parts:
    """Makes what a run leaves, part by part, and takes note of what could not be made.

    Attributes
    ----------
    failures : tuple of Failure
        The parts that failed, in their order, each once.
    """

    def __init__(self) -> None:
        self.failures: tuple[Failure, ...] = ()

    def make(
        self, part: str, make: Callable[[], T], otherwise: D, pauses: Sequence[float] = ()
    ) -> T | D:
        """Return what `make` returns; `otherwise` if it fails, which is noted.

        Parameters
        ----------
        part : str
            What is made, as a reader may know it.
        make : callable
        otherwise : object
        pauses : sequence of float
            What fails by the file system or the network is tried again after each of them.
        """
        for pause in (*pauses, None):
            try:
                return make()
            except Exception as fault:
                if pause is None or not isinstance(fault, OSError):
                    self._note(Failure(part, kind_and_place(fault)))
                    break
                time.sleep(pause)
        return otherwise

    def _note(self, failure: Failure) -> None:
        if failure.part not in {known.part for known in self.failures}:
            self.failures = (*self.failures, failure)


def unmade(failures: Sequence[Failure]) -> str:
    """What could not be made, in a sentence; empty if all was."""
    if not failures:
        return ""
    named = ", ".join(f"{one.part} ({one.reason})" for one in failures[:MOST_NAMED])
    more = len(failures) - MOST_NAMED
    return (
        f"Not all that a run leaves could be made: {named}"
        f"{f' and {more} more' if more > 0 else ''}."
    )


def kind_and_place(fault: BaseException) -> str:
    """What kind of error it is, and where in this program; nothing of what it was about.

    What the operating system says is no secret.
    """
    kind = type(fault).__name__
    if isinstance(fault, OSError) and fault.strerror:
        kind = f"{kind}, {fault.strerror.lower()}"
    ours = [
        frame
        for frame in traceback.extract_tb(fault.__traceback__)
        if PACKAGE in Path(frame.filename).parents and frame.filename != __file__
    ]
    if not ours:
        return kind
    return f"{kind} at {Path(ours[-1].filename).relative_to(PACKAGE).as_posix()}:{ours[-1].lineno}"
