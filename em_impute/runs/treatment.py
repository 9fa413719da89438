"""What a run does with each column of its table: its part, and what the model sees of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from em_impute.reporting.records import Role
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.state.shape import ColumnShape

PARTS: dict[Role, str] = {
    "impute": "impute",
    "predictor": "predictor",
    "key": "key",
    "passthrough": "kept as is",
}


@dataclass(frozen=True)
class Treatment:
    """What a run does with one column of its table.

    Attributes
    ----------
    part : str
        "impute", "predictor", "key" or "kept as is".
    type : str
        Name of the Arrow type.
    kind : str
        What the model takes it for: "numbers", "instants", "categories" or "ordered categories".
        Empty, like all below, of a column that is not in the model.
    transform : str
        As the job has it, with the ends of a logit; empty for none.
    bounds : str
        Of what is filled in, in words; empty for none.
    rounding : str
        "whole numbers" where nothing else is filled in.
    levels : tuple of str
        Of categories.
    model_columns : int
        How many columns it has in the model.
    """

    part: str
    type: str
    kind: str = ""
    transform: str = ""
    bounds: str = ""
    rounding: str = ""
    levels: tuple[str, ...] = ()
    model_columns: int = 0

    @property
    def in_words(self) -> str:
        """What is not as of plain numbers, which are one column of the model; may be empty."""
        kind = "" if self.kind == "numbers" else self.kind
        levels = f"{len(self.levels):,} levels" if self.levels else ""
        several = f"{self.model_columns} model columns" if self.model_columns > 1 else ""
        words = (kind, levels, several, self.transform, self.bounds, self.rounding)
        return ", ".join(filter(None, words))


def treatment_of(roles: Roles, name: str, type_: str) -> Treatment:
    """Return what a run with these parts of its columns does with one of them.

    Parameters
    ----------
    roles : Roles
    name : str
        Of the column.
    type_ : str
        Of the column in the table.
    """
    if name not in roles.model_columns:
        return Treatment(PARTS["key" if name in roles.key else "passthrough"], type_)
    encoding = roles.encoding(name)
    shape = ColumnShape.of(encoding)
    imputed = name in roles.impute
    numeric = encoding if isinstance(encoding, Numeric) and imputed else Numeric(name)
    return Treatment(
        PARTS["impute" if imputed else "predictor"],
        type_,
        shape.kind,
        "" if shape.transform == "none" else shape.transform,
        _bounds(numeric.low, numeric.high),
        "whole numbers" if numeric.whole else "",
        shape.levels,
        len(encoding.dimensions),
    )


def _bounds(low: float, high: float) -> str:
    if low == -inf:
        return "" if high == inf else f"up to {high:.15g}"
    return f"{low:.15g} or more" if high == inf else f"{low:.15g} to {high:.15g}"


def differences(then: Treatment, now: Treatment) -> Iterator[str]:
    """Yield what is done otherwise with a column than it was, a clause each.

    Of levels, which are cells of the table, only how many there are.
    """
    yield from _replaced(then, now, "type", "part")
    if not (then.kind and now.kind):
        if then.kind != now.kind and now.in_words:
            yield now.in_words
        return
    yield from _replaced(then, now, "kind", "transform", "bounds", "rounding")
    if then.levels != now.levels:
        yield f"levels {len(then.levels):,} -> {len(now.levels):,} ({_moved(then, now)})"
    if then.model_columns != now.model_columns:
        yield f"model columns {then.model_columns:,} -> {now.model_columns:,}"


def _replaced(then: Treatment, now: Treatment, *names: str) -> Iterator[str]:
    for name in names:
        old, new = getattr(then, name), getattr(now, name)
        if old != new:
            yield f"{name} {old or 'none'} -> {new or 'none'}"


def _moved(then: Treatment, now: Treatment) -> str:
    old, new = set(then.levels), set(now.levels)
    if old == new:
        return "in another order"
    counts = {"new": len(new - old), "gone": len(old - new)}
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
