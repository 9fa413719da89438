"""`Shape`: what of a job and its table must stay as it is for rows to be added up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from em_impute.job import CannotRun, Source
from em_impute.job.dates import is_dated
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import Encoding
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.options import MOST_LEVELS
from em_impute.tables.columns.roles import Roles


@dataclass(frozen=True)
class ColumnShape:
    """How the cells of a column become numbers of the model.

    Attributes
    ----------
    column : str
    kind : str
        "numbers", "instants", "categories" or "ordered categories".
    transform : str
        As the job has it, with the ends of a logit.
    levels : tuple of str
    counts : tuple of int
        Observed cells of each ordered level, of which the scores are made.
    """

    column: str
    kind: str
    transform: str = "none"
    levels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, encoding: Encoding) -> ColumnShape:
        """That of a column that is encoded so."""
        match encoding:
            case Nominal():
                return cls(encoding.column, "categories", levels=encoding.levels)
            case Ordinal():
                return cls(
                    encoding.column,
                    "ordered categories",
                    levels=encoding.levels,
                    counts=encoding.counts,
                )
            case Numeric(transform=transform):
                ends = f" of {transform.low:g} to {transform.high:g}"
                name = transform.name + (ends if transform.name == "logit" else "")
                return cls(encoding.column, "numbers", name)
        assert isinstance(encoding, Instant)
        return cls(encoding.column, "instants")


@dataclass(frozen=True)
class Shape:
    """What must stay as it is for rows to be added up.

    Attributes
    ----------
    columns : tuple of ColumnShape
        Those of the model, in their order.
    reading : dict of str to str
        Digests of the options by which the source is read.
    """

    columns: tuple[ColumnShape, ...]
    reading: Mapping[str, str]

    @classmethod
    def of(cls, roles: Roles, source: Source) -> Shape:
        """That of a table with these parts of its columns."""
        columns = tuple(ColumnShape.of(roles.encoding(name)) for name in roles.model_columns)
        said = source.model_dump(mode="json", include={"missing", "csv", "query"})
        said["path"] = is_dated(source)  # elsewhere the same files may lie, but not by other names
        return cls(columns, {key: _digest(value) for key, value in said.items()})

    @cached_property
    def digest(self) -> str:
        """A digest of all of it."""
        return _digest(asdict(self))

    def changes(self, now: Shape) -> tuple[str, ...]:
        """What is not as it was, a clause each; none if rows of both can be added up."""
        if self.digest == now.digest:
            return ()
        return tuple(_changes(self, now)) or ("the order of the columns changed",)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _changes(then: Shape, now: Shape) -> Iterator[str]:
    old, new = ({c.column: c for c in shape.columns} for shape in (then, now))
    for name in old.keys() - new.keys():
        yield f"{name!r} is no longer a column of the model"
    for name in new.keys() - old.keys():
        yield f"{name!r} is a new column of the model"
    for name in old.keys() & new.keys():
        was, is_ = old[name], new[name]
        if was.kind != is_.kind:
            yield f"{name!r} changed from {was.kind} to {is_.kind}"
        elif was.transform != is_.transform:
            yield f"columns.transform of {name!r} changed from {was.transform} to {is_.transform}"
        elif was.levels != is_.levels:
            yield f"the levels of {name!r} changed from {len(was.levels)} to {_levels(was, is_)}"
        elif was.counts != is_.counts:
            yield f"{name!r} shows a level for the first time"
    for key in sorted(then.reading.keys() | now.reading.keys()):
        if then.reading.get(key) != now.reading.get(key):
            yield f"source.{key} changed"


def _levels(was: ColumnShape, is_: ColumnShape) -> str:
    fresh = len(set(is_.levels) - set(was.levels))
    return f"{len(is_.levels)}, {fresh} of them new" if fresh else f"{len(is_.levels)}"


def with_known_levels(roles: Roles, known: Shape | None) -> Roles:
    """The parts of the columns with levels that other nights have shown, and with their scores.

    Tonight's table need not show every level, and scores of ordered ones that are made of each
    night's counts would differ from night to night.

    Raises
    ------
    CannotRun
        If a column has too many levels, those of other nights included.
    """
    if known is None:
        return roles
    columns = {column.column: column for column in known.columns}
    encodings = [
        _with_known(encoding, columns.get(encoding.column)) for encoding in roles.encodings
    ]
    return replace(roles, encodings=tuple(encodings))


def _with_known(encoding: Encoding, known: ColumnShape | None) -> Encoding:
    if known is None or known.kind != ColumnShape.of(encoding).kind:
        return encoding
    if isinstance(encoding, Nominal):
        levels = tuple(sorted({*encoding.levels, *known.levels}))
        if len(levels) > MOST_LEVELS:
            raise CannotRun(
                f"columns.categories: column {encoding.column!r} has more than {MOST_LEVELS} "
                "levels, those of earlier runs in the state included; join the rare ones, or leave "
                "the column out of the model."
            )
        return replace(encoding, levels=levels)
    if isinstance(encoding, Ordinal) and encoding.levels == known.levels:
        return replace(encoding, counts=_known_counts(encoding.counts, known.counts))
    return encoding


def _known_counts(tonight: Sequence[int], known: Sequence[int]) -> tuple[int, ...]:
    """Those that are known, unless a level is shown tonight of which they have none."""
    pairs = list(zip(tonight, known, strict=True))
    if all(then or not now for now, then in pairs):
        return tuple(known)
    return tuple(now + then for now, then in pairs)
