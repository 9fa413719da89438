"""What can be wrong with a job: the errors, where they stand, and how their words are written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Loc = tuple[str | int, ...]
Position = tuple[int, int]

# What a message shows: an error goes into the log, and into the run's state in Prefect.
_MOST_WORDS = 10
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
        """Find the node at a path, or its nearest ancestor that is written in the file."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values[loc]

    def describe(self, position: Position) -> str:
        """Write a position as editors and terminals link it."""
        line, column = position
        return f"{self.file}:{line}:{column}"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Ask whether a known word was meant, in brackets; nothing where none is near."""
    nearest = difflib.get_close_matches(word[:_LONGEST_WORD], words, n=1)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def listed(names: Sequence[str]) -> str:
    """Write names one after the other, the first ten of them."""
    more = f" and {len(names) - _MOST_WORDS:,} more" if names[_MOST_WORDS:] else ""
    return ", ".join(map(_word, names[:_MOST_WORDS])) + more


def dotted(loc: Loc) -> str:
    """Write the path of a key as `columns.impute`."""
    return ".".join(map(_word, loc))


def _word(part: str | int) -> str:
    """Write a name so that it stays on its line and cannot steer a terminal."""
    text = str(part)
    shown = text[:_LONGEST_WORD]
    return shown if shown.isprintable() and shown.strip() == shown != "" else ascii(shown)
