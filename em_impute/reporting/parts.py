"""A run leaves its results in parts, each made by itself: one that fails is named, others are made.

The parts are the sections and pictures of the report, its files, the artifacts and the events. By
then the table is published, and an error here must not suggest that it is not.
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
# A file system that fails is tried again after so many seconds each.
PAUSES = (0.5, 1.0)
# A sentence names at most so many parts.
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
    """Makes the parts of what a run leaves, and notes those that could not be made.

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
    """Return the parts that could not be made, in a sentence; empty if there are none."""
    if not failures:
        return ""
    named = ", ".join(f"{one.part} ({one.reason})" for one in failures[:MOST_NAMED])
    more = len(failures) - MOST_NAMED
    return (
        f"Some parts of the report could not be made: {named}"
        f"{f' and {more} more' if more > 0 else ''}."
    )


def kind_and_place(fault: BaseException) -> str:
    """Return the kind of an error and its place in this program, without its message.

    The operating system's own words are kept: they quote no cell.
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
