"""What a column cannot be used for: parts and options that its type or its cells do not allow."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from math import inf
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.job import Job, Problem
from em_impute.job.mistakes import listed, nearest
from em_impute.tables.columns.encoding import as_labels
from em_impute.tables.columns.numbers import ceil_or_inf, ends_of_decimals, floor_or_inf
from em_impute.tables.columns.options import numeric_of
from em_impute.tables.columns.transforms import transform_of
from em_impute.tables.reading.digits import CODE, LARGEST_EXACT_INTEGER, LONG_CODE, is_number
from em_impute.tables.reading.missing import Missing, is_blank
from em_impute.tables.snapshot import (
    ColumnProfile,
    Snapshot,
    is_text,
    read_batches,
    read_schema,
)

# --- Its part ------------------------------------------------------------------------------------


def role_problems(snapshot: Snapshot, job: Job) -> Iterator[Problem]:
    """Yield what keeps columns that the job names from their parts."""
    for name in Missing.of(job.source).columns:
        if message := absence(snapshot, name):
            yield Problem(job.place("source", "missing", name), f"source.missing: {message}")
    for role in ("impute", "predictors", "key", "group_by"):
        for i, name in enumerate(getattr(job.columns, role) or ()):
            if message := _objection(snapshot, job, name, role):
                yield Problem(job.place("columns", role, i), f"columns.{role}: {message}")


def _objection(snapshot: Snapshot, job: Job, name: str, role: str) -> str:
    """Say what keeps a named column from its part; empty if nothing does."""
    if message := absence(snapshot, name):
        return message
    profile = snapshot.profile(name)
    # In a CSV, a column with no observed cell has no type: that is for the preconditions to refuse.
    if role == "group_by":
        return _no_group(snapshot, job, name)
    if role == "key" or profile.numeric or profile.type in ("null", "bool"):
        return ""
    if name in job.columns.categories:
        return ""
    if role == "predictors" and profile.type.startswith(("timestamp", "date")):
        return ""
    return _type_objection(snapshot, profile)


def _no_group(snapshot: Snapshot, job: Job, name: str) -> str:
    if name in (job.columns.predictors or ()):
        return f"column {name!r} is a predictor too; within a group it would be constant."
    return _no_categories(snapshot, name, "groups")


def absence(snapshot: Snapshot, name: str) -> str:
    """Say that the table has no such column, and which it has; empty if it has it."""
    names = [column.name for column in snapshot.columns]
    if name in names:
        return ""
    return (
        f"the table has no column {name!r}{_nearest(name, names)} It has {listed(names, 20, repr)}."
    )


def _nearest(name: str, names: Sequence[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in names}
    near = nearest(name.casefold(), folded)
    return f"; did you mean {folded[near[0]]!r}?" if near else "."


def _no_categories(snapshot: Snapshot, name: str, what: str = "categories") -> str:
    type_ = read_schema(snapshot.path).field(name).type
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    fits = is_text(plain) or pa.types.is_boolean(plain) or pa.types.is_integer(plain)
    if fits or pa.types.is_null(plain):
        return ""
    return f"column {name!r} is of type {type_}; {what} are text, booleans or integers."


# --- Its options ---------------------------------------------------------------------------------


def option_problems(snapshot: Snapshot, job: Job) -> Iterator[Problem]:
    """Yield what keeps columns from the options that the job has for them."""
    options = job.columns
    rounded = () if isinstance(options.round, bool) else options.round
    named: dict[str, dict[str, tuple[str | int]]] = {
        "transform": {name: (name,) for name in options.transform},
        "bounds": {name: (name,) for name in options.bounds},
        "round": {name: (i,) for i, name in enumerate(rounded)},
        "categories": {name: (name,) for name in options.categories},
    }
    for option, places in named.items():
        for name, loc in places.items():
            if message := _misuse(snapshot, job, option, name):
                place = job.place("columns", option, *loc)
                yield Problem(place, f"columns.{option}: {message}")


def _misuse(snapshot: Snapshot, job: Job, option: str, name: str) -> str:
    """Say what keeps a column from having an option; empty if nothing does."""
    if message := absence(snapshot, name):
        return message
    options, profile = job.columns, snapshot.profile(name)
    parts = (options.impute, options.predictors)
    if name in (*options.key, *options.group_by) or (
        None not in parts and not any(name in (part or ()) for part in parts)
    ):
        return f"column {name!r} is not in the model; name it in columns.impute or .predictors."
    if option == "categories":
        return _no_categories(snapshot, name)
    if name in options.categories or not (profile.numeric or profile.type == "null"):
        no_numbers = f"column {name!r} is not a column of numbers."
        return _type_objection(snapshot, profile) if profile.odd else no_numbers
    if option != "bounds":
        return ""
    type_ = read_schema(snapshot.path).field(name).type
    return _no_decimal_left(job, name, type_) or _no_number_left(job, name)


def _limits(job: Job, name: str) -> tuple[float, float]:
    low, high = job.columns.bounds[name]
    return -inf if low is None else low, inf if high is None else high


def _no_decimal_left(job: Job, name: str, type_: pa.DataType) -> str:
    if pa.types.is_decimal(type_):
        low, high = ends_of_decimals(*_limits(job, name), type_.scale)
        if low > high:
            return f"no number of type {type_} is between the bounds of {name!r}."
    return ""


def _no_number_left(job: Job, name: str) -> str:
    low, high = _limits(job, name)
    rounded = job.columns.round
    if (rounded is True or name in (rounded or ())) and ceil_or_inf(low) > floor_or_inf(high):
        return f"there is no whole number between the bounds of {name!r}."
    transform = transform_of(job.columns.transform.get(name))
    if (
        low > transform.high
        or high < transform.low
        or not (transform.closed or (low < transform.high and high > transform.low))
    ):
        return (
            f"no number between the bounds of {name!r} is in the domain of {transform.name}, "
            f"which is {transform.domain}."
        )
    return ""


# --- Its shift -----------------------------------------------------------------------------------


def delta_problems(
    snapshot: Snapshot, job: Job, model_columns: Collection[str], impute: Collection[str]
) -> Iterator[Problem]:
    """Yield what keeps columns from being shifted as ``imputation.delta`` says.

    Parameters
    ----------
    snapshot : Snapshot
    job : Job
    model_columns : collection of str
    impute : collection of str
        Those of them that are to be filled.
    """
    left_to_us = job.columns.impute is None
    # What is imputed as soon as it has a missing cell may have none tonight.
    imputed = {*impute, *(model_columns if left_to_us else ())} - {*(job.columns.predictors or ())}
    for name in job.imputation.delta:
        if message := absence(snapshot, name) or _no_shift(snapshot, job, name, imputed):
            place = job.place("imputation", "delta", name)
            yield Problem(place, f"imputation.delta: {message}")


def _no_shift(snapshot: Snapshot, job: Job, name: str, imputed: Collection[str]) -> str:
    if name not in imputed:
        return (
            f"column {name!r} is not imputed, so no cell of it can be shifted; name it in "
            "columns.impute, or remove it from delta."
        )
    levels = job.columns.categories.get(name)
    if levels == "nominal" or (levels is None and snapshot.profile(name).type == "bool"):
        return (
            f"column {name!r} holds categories without an order, which have no lower or higher; "
            "remove it from delta, or give its levels in their order in columns.categories."
        )
    return ""


# --- Its cells -----------------------------------------------------------------------------------


def cell_problems(
    snapshot: Snapshot, job: Job, model_columns: Sequence[str], impute: Collection[str]
) -> Iterator[Problem]:
    """Yield the first cell of each column that keeps it from its part.

    Parameters
    ----------
    snapshot : Snapshot
    job : Job
    model_columns : sequence of str
    impute : collection of str
        Those of them that are to be filled.
    """
    for name in model_columns:
        levels = job.columns.categories.get(name)
        if isinstance(levels, tuple):
            if message := _unknown_level(snapshot, name, levels):
                place = job.place("columns", "categories", name)
                yield Problem(place, f"columns.categories: {message}")
        elif name in impute and (message := _integer_objection(snapshot, job, name)):
            place = job.place("columns", "impute", *_position(job, name))
            yield Problem(place, f"columns.impute: {message}")


def _position(job: Job, name: str) -> tuple[int, ...]:
    return () if job.columns.impute is None else (job.columns.impute.index(name),)


def _unknown_level(snapshot: Snapshot, name: str, levels: tuple[str, ...]) -> str:
    known = pa.array(levels, pa.large_string())

    def is_unknown(cells: pa.Array) -> pa.Array:
        labels = as_labels(cells)
        return pc.and_(pc.is_valid(labels), pc.invert(pc.is_in(labels, known)))

    seen, at = snapshot.profile(name).levels, ""
    if seen is None:
        found = _first_cell(snapshot, name, is_unknown)
        at = "" if found is None else f" at row {found[0]}"
    if not at and {level for level, _ in seen or ()} <= set(levels):
        return ""
    return (
        f"column {name!r} holds{at} a level that is not among the "
        f"{len(levels)} that the job names; add it, or mend the cell."
    )


def _type_objection(snapshot: Snapshot, profile: ColumnProfile) -> str:
    if not profile.is_text:
        return (
            f"column {profile.name!r} is of type {profile.type}; a column of the model has to be "
            "integer, decimal or floating point. Convert it, or leave it out."
        )
    found = _first_cell(snapshot, profile.name, _is_no_number)
    if found is None:
        return (
            f"column {profile.name!r} is text, although all that it holds reads as numbers; "
            "convert it to a numeric type."
        )
    row, text = found
    return (
        f"column {profile.name!r} holds text at row {row} ({_kind_of_text(text)}). "
        "Write a number there, or leave the cell empty if it stands for a missing value, or name "
        "such texts in source.missing; if the column holds categories, name it in "
        "columns.categories."
    )


def _integer_objection(snapshot: Snapshot, job: Job, name: str) -> str:
    """Say where an imputed column, floating point once it is filled, would lose an integer."""
    type_ = read_schema(snapshot.path).field(name).type
    stays = name in job.columns.categories or numeric_of(job, name, type_).keeps_type
    if stays or type_ not in (pa.int64(), pa.uint64()):
        return ""
    found = _first_cell(snapshot, name, _is_beyond_floats)
    if found is None:
        return ""
    return (
        f"column {name!r} becomes floating point when it is imputed, and row {found[0]} holds an "
        "integer beyond 2^53, which would not keep its last digits. If it is an identifier, name "
        "it in columns.key; otherwise leave it out of columns.impute."
    )


def first_text(snapshot: Snapshot, name: str) -> int | None:
    """The first row of a column of text that holds no number, from 1; None if there is none."""
    found = _first_cell(snapshot, name, _is_no_number)
    return found and found[0]


def _first_cell(
    snapshot: Snapshot, name: str, test: Callable[[pa.Array], pa.Array]
) -> tuple[int, Any] | None:
    """Row (counted from 1) and value of the first cell that passes `test`."""
    rows = 0
    for batch in read_batches(snapshot.path, [name]):
        column = batch.column(0)
        position = pc.index(test(column), True).as_py()
        if position >= 0:
            return rows + position + 1, column[position].as_py()
        rows += len(column)
    return None


def _is_no_number(column: pa.Array) -> pa.Array:
    text = column.cast(pa.large_string())
    return pc.invert(pc.or_(is_number(text), is_blank(text)))


def _is_beyond_floats(column: pa.Array) -> pa.Array:
    beyond = pc.greater(column, pa.scalar(LARGEST_EXACT_INTEGER, column.type))
    if pa.types.is_unsigned_integer(column.type):
        return beyond
    return pc.or_(beyond, pc.less(column, pa.scalar(-LARGEST_EXACT_INTEGER, column.type)))


def _kind_of_text(text: str) -> str:
    """Describe a text without quoting it."""
    length = len(text)
    if text.isalpha():
        return "a single letter" if length == 1 else f"a word of {length} letters"
    if re.match(f"{CODE}|{LONG_CODE}", text):
        return f"a code of {length} characters, whose zeros, sign or digits a number would not keep"
    if re.fullmatch(r"[+-]?\d[\d.,' ]*", text.strip()):
        return "a number with a decimal comma or a separator of thousands"
    return f"a text of {length} character{'s' if length != 1 else ''}"
