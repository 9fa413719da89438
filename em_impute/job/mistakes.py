"""What can be wrong with a job: the errors, where they stand, and how their words are written."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from em_impute.job.legible import one_line, quoted_if_odd

Loc = tuple[str | int, ...]
Position = tuple[int, int]

_MOST_WORDS = 10
# The time to compare two words grows with the square of their length.
_LONGEST_WORD = 60


class CannotRun(Exception):
    """The job cannot run as it is written; the message tells the user what to mend."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a job: where it stands, and a sentence on how to mend it."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class JobError(CannotRun):
    """All the mistakes that were found in a job, one per line.

    Attributes
    ----------
    problems : tuple of Problem
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    def __repr__(self) -> str:
        # Prefect logs an exception by its repr.
        return f"JobError: {self}"


@dataclass(frozen=True)
class Places:
    """Where the keys and values of a job file stand, as (line, column) counted from 1.

    No field takes part in comparisons: a job is equal to itself wherever it was written.
    """

    file: Path | None = field(default=None, compare=False)
    keys: dict[Loc, Position] = field(default_factory=dict, compare=False)
    values: dict[Loc, Position] = field(default_factory=dict, compare=False)

    def position(self, loc: Loc) -> Position:
        """Return the place of a node, or of its nearest ancestor that is written in the file."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values[loc]

    def describe(self, position: Position) -> str:
        """Return a position as editors and terminals link it."""
        line, column = position
        return f"{self.file}:{line}:{column}"


def nearest(word: str, words: Iterable[str], most: int = 1) -> list[str]:
    """Return the known words that are most like a word.

    Parameters
    ----------
    word : str
    words : iterable of str
        The known words; upper and lower case are different.
    most : int
        Return at most so many, the nearest first; none if none is near.
    """
    return difflib.get_close_matches(word[:_LONGEST_WORD], words, n=most)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return a question in brackets, whether the nearest known word was meant; or nothing."""
    near = nearest(word, words)
    return f" (did you mean {one_line(near[0])}?)" if near else ""


def listed(
    names: Sequence[str], most: int = _MOST_WORDS, write: Callable[[str], str] = quoted_if_odd
) -> str:
    """Return the first of some names one after the other, and how many more there are.

    Parameters
    ----------
    names : sequence of str
    most : int
        How many are named.
    write : callable
        How one name is written.
    """
    more = f" and {len(names) - most:,} more" if names[most:] else ""
    return ", ".join(map(write, names[:most])) + more


def dotted(loc: Loc) -> str:
    """Return the path of a key as `columns.impute`."""
    return ".".join(map(quoted_if_odd, loc))
