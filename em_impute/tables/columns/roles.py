"""Which column plays which part, how it takes part in the model, and what it cannot be used for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from em_impute.job import MASK, FileSource, Job, JobError, Problem
from em_impute.job.mistakes import listed, nearest
from em_impute.tables.columns.encoding import (
    Encoding,
    Filling,
    Instant,
    Nominal,
    Number,
    Ordinal,
    as_labels,
    ceil_or_inf,
    ends_of_decimals,
    floor_or_inf,
    to_numbers,
)
from em_impute.tables.columns.transforms import transform_of
from em_impute.tables.reading.digits import CODE, LARGEST_EXACT_INTEGER, LONG_CODE, is_number
from em_impute.tables.reading.missing import Missing, is_blank
from em_impute.tables.snapshot import (
    ColumnProfile,
    Snapshot,
    is_missing,
    is_text,
    read_batches,
    read_schema,
)

# More levels than this are an identifier, or text; each of them is a column of the model.
MOST_LEVELS = 50


@dataclass(frozen=True)
class Roles:
    """The part that each column of a table plays.

    Attributes
    ----------
    columns : tuple of str
        Every column, in the table's order.
    key : tuple of str
        Columns that identify a row, in the job's order.
    impute, predictors : tuple of str
        Columns to fill, and columns that only help to predict them; in the table's order.
    encodings : tuple of Encoding
        How columns take part in the model, where that is not simply as numbers.
    group_by : tuple of str
        Columns that divide the rows into groups with a model each.
    mask : bool
        Whether the filled table has one more column, which tells its imputed cells.
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    impute: tuple[str, ...]
    predictors: tuple[str, ...]
    encodings: tuple[Encoding, ...] = ()
    group_by: tuple[str, ...] = ()
    mask: bool = False

    @cached_property
    def model_columns(self) -> tuple[str, ...]:
        """Columns of the model, imputed and predicting ones, in the table's order."""
        parts = {*self.impute, *self.predictors}
        return tuple(name for name in self.columns if name in parts)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the model's own columns: several, ``Species=Gentoo``, for a nominal one."""
        return tuple(d for name in self.model_columns for d in self.encoding(name).dimensions)

    def at(self, name: str) -> slice:
        """Where the dimensions of a column are."""
        return self._places[name]

    @cached_property
    def _places(self) -> dict[str, slice]:
        widths = [len(self.encoding(name).dimensions) for name in self.model_columns]
        ends = np.cumsum([0, *widths]).tolist()
        return {
            name: slice(start, end)
            for name, start, end in zip(self.model_columns, ends[:-1], ends[1:], strict=True)
        }

    def encoding(self, name: str) -> Encoding:
        """How a column takes part in the model."""
        return self._encodings.get(name) or Number(name)

    @cached_property
    def _encodings(self) -> dict[str, Encoding]:
        return {encoding.column: encoding for encoding in self.encodings}

    def filling(self, name: str) -> Filling:
        """How a column of `impute` is filled."""
        return cast(Filling, self.encoding(name))

    def encode(self, batch: pa.RecordBatch) -> NDArray[np.float64]:
        """Rows as the model takes them, of shape (n_rows, n_dimensions), NaN where missing."""
        parts = [self.encoding(name).encode(batch.column(name)) for name in self.model_columns]
        return np.concatenate([np.empty((batch.num_rows, 0)), *parts], axis=1)

    def missing(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Which cells of `model_columns` are missing, of shape (n_rows, n_columns)."""
        missing = np.empty((batch.num_rows, len(self.model_columns)), dtype=bool)
        for j, name in enumerate(self.model_columns):
            missing[:, j] = is_missing(batch.column(name))
        return missing

    @property
    def passthrough(self) -> tuple[str, ...]:
        """Columns that are neither in the model nor in the key."""
        parts = {*self.key, *self.impute, *self.predictors}
        return tuple(name for name in self.columns if name not in parts)


def assign_roles(snapshot: Snapshot, job: Job) -> Roles:
    """Decide the part of each column from what the job says and what the table holds.

    By default every numeric column and every one of `categories` with missing cells is imputed and
    every other one predicts, the key excepted; a column of folders' names is imputed only if it is
    named. The levels of categories are read from the table.

    Raises
    ------
    JobError
        With every problem at once: columns that the table lacks, columns in the model that are
        neither numeric nor categories, options that their column cannot have, imputed integers
        that floating point cannot hold, unknown or too many levels.
    """
    problems = [*_role_problems(snapshot, job), *_option_problems(snapshot, job)]
    if job.imputation.mask and any(column.name == MASK for column in snapshot.columns):
        message = f"imputation.mask: the table has a column {MASK!r} already; rename it."
        problems.append(Problem(job.place("imputation", "mask"), message))
    if problems:
        raise JobError(problems)
    roles = _roles(snapshot, job)
    if problems := list(_cell_problems(snapshot, job, roles)):
        raise JobError(problems)
    roles = replace(roles, encodings=tuple(_encodings(snapshot, job, roles)))
    dimensions = Counter(roles.dimensions)
    if twice := [name for name, times in dimensions.items() if times > 1]:
        raise JobError(
            [Problem(job.place("columns"), f"columns: the model would have {twice[0]!r} twice")]
        )
    return roles


def to_matrix(batch: pa.RecordBatch, columns: Sequence[str]) -> NDArray[np.float64]:
    """Cells of numeric columns as numbers.

    Returns
    -------
    ndarray of shape (n_rows, len(columns)), float64
        NaN where a cell is null or NaN. Integers beyond 2**53 are rounded.
    """
    X = np.empty((batch.num_rows, len(columns)))
    for j, name in enumerate(columns):
        X[:, j] = to_numbers(batch.column(name))
    return X


def _roles(snapshot: Snapshot, job: Job) -> Roles:
    said = job.columns
    free = [
        c
        for c in snapshot.columns
        if (c.numeric or c.name in said.categories) and c.name not in {*said.key, *said.group_by}
    ]
    impute = said.impute
    if impute is None:
        impute = tuple(
            c.name
            for c in free
            # What a folder's name does not say is not known to be missing at random, or at all.
            if c.missing and not _is_left(c, job) and c.name not in (said.predictors or ())
        )
    predictors = said.predictors
    if predictors is None:
        predictors = tuple(c.name for c in free if c.name not in impute)
    columns = tuple(c.name for c in snapshot.columns)
    return Roles(
        columns,
        key=said.key,
        impute=tuple(sorted(impute, key=columns.index)),
        predictors=tuple(sorted(predictors, key=columns.index)),
        group_by=said.group_by,
        mask=job.imputation.mask,
    )


def _is_left(column: ColumnProfile, job: Job) -> bool:
    """Whether a column's holes stay, unless the job names it."""
    return column.in_folders and column.name not in job.columns.categories


def _position(job: Job, name: str) -> tuple[int, ...]:
    return () if job.columns.impute is None else (job.columns.impute.index(name),)


# --- How a column takes part in the model ------------------------------------------------------


def _encodings(snapshot: Snapshot, job: Job, roles: Roles) -> Iterator[Encoding]:
    schema = read_schema(snapshot.path)
    for name in roles.model_columns:
        type_ = schema.field(name).type
        if name in job.columns.categories or pa.types.is_boolean(type_):
            yield _categories(snapshot, job, name)
        elif pa.types.is_temporal(type_):
            yield Instant(name)
        else:
            yield _number(job, name, type_)


def _number(job: Job, name: str, type_: pa.DataType) -> Number:
    said = job.columns
    low, high = said.bounds.get(name, (None, None))
    integer = pa.types.is_integer(type_)
    whole = said.round is True or name in (said.round or ()) or (integer and _has_types(job))
    return Number(
        name,
        transform_of(said.transform.get(name)),
        -inf if low is None else low,
        inf if high is None else high,
        whole,
        integer and whole,
        said.back_transform,
        type_.scale if pa.types.is_decimal(type_) else None,
    )


def _categories(snapshot: Snapshot, job: Job, name: str) -> Encoding:
    said, counts = job.columns.categories.get(name, "nominal"), _level_counts(snapshot, name)
    if said == "nominal":
        if len(counts) > MOST_LEVELS:
            message = (
                f"column {name!r} has more than {MOST_LEVELS} levels; join the rare ones, or leave "
                "the column out of the model."
            )
            raise JobError(
                [
                    Problem(
                        job.place("columns", "categories", name), f"columns.categories: {message}"
                    )
                ]
            )
        return Nominal(name, tuple(sorted(counts)))
    return Ordinal(name, said, tuple(counts[level] for level in said))


def _level_counts(
    snapshot: Snapshot, name: str, is_no_level: Callable[[pa.Array], pa.Array] = pc.is_null
) -> Counter[str]:
    """Observed cells of each level; of hardly more levels than a column may have."""
    counts: Counter[str] = Counter()
    for batch in read_batches(snapshot.path, [name]):
        labels = as_labels(batch.column(0))
        values, times = labels.filter(pc.invert(is_no_level(labels))).value_counts().flatten()
        counts.update(dict(zip(values.to_pylist(), times.to_pylist(), strict=True)))
        if len(counts) > MOST_LEVELS:
            break
    return counts


def has_few_levels(snapshot: Snapshot, name: str) -> bool:
    """Whether a column of text or booleans could be one of categories."""
    return len(_level_counts(snapshot, name, is_blank)) <= MOST_LEVELS


def _has_types(job: Job) -> bool:
    """Whether an integer column of the source is one by its type, not by the look of its cells."""
    return not (isinstance(job.source, FileSource) and job.source.is_text)


# --- What a column cannot be used for ----------------------------------------------------------


def _role_problems(snapshot: Snapshot, job: Job) -> Iterator[Problem]:
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


def _option_problems(snapshot: Snapshot, job: Job) -> Iterator[Problem]:
    said = job.columns
    rounded = () if isinstance(said.round, bool) else said.round
    named: dict[str, dict[str, tuple[str | int]]] = {
        "transform": {name: (name,) for name in said.transform},
        "bounds": {name: (name,) for name in said.bounds},
        "round": {name: (i,) for i, name in enumerate(rounded)},
        "categories": {name: (name,) for name in said.categories},
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
    said, profile = job.columns, snapshot.profile(name)
    parts = (said.impute, said.predictors)
    if name in (*said.key, *said.group_by) or (
        None not in parts and not any(name in (part or ()) for part in parts)
    ):
        return f"column {name!r} is not in the model; name it in columns.impute or .predictors."
    if option == "categories":
        return _no_categories(snapshot, name)
    if name in said.categories or not (profile.numeric or profile.type == "null"):
        no_numbers = f"column {name!r} is not a column of numbers."
        return _type_objection(snapshot, profile) if profile.odd else no_numbers
    if option != "bounds":
        return ""
    type_ = read_schema(snapshot.path).field(name).type
    return _no_decimal_left(job, name, type_) or _no_number_left(job, name)


def _no_categories(snapshot: Snapshot, name: str, what: str = "categories") -> str:
    type_ = read_schema(snapshot.path).field(name).type
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    fits = is_text(plain) or pa.types.is_boolean(plain) or pa.types.is_integer(plain)
    if fits or pa.types.is_null(plain):
        return ""
    return f"column {name!r} is of type {type_}; {what} are text, booleans or integers."


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


def _cell_problems(snapshot: Snapshot, job: Job, roles: Roles) -> Iterator[Problem]:
    """Cells that keep their column from its part."""
    for name in roles.model_columns:
        levels = job.columns.categories.get(name)
        if isinstance(levels, tuple):
            if message := _unknown_level(snapshot, name, levels):
                place = job.place("columns", "categories", name)
                yield Problem(place, f"columns.categories: {message}")
        elif name in roles.impute and (message := _integer_objection(snapshot, job, name)):
            place = job.place("columns", "impute", *_position(job, name))
            yield Problem(place, f"columns.impute: {message}")


def _unknown_level(snapshot: Snapshot, name: str, levels: tuple[str, ...]) -> str:
    known = pa.array(levels, pa.large_string())

    def is_unknown(cells: pa.Array) -> pa.Array:
        labels = as_labels(cells)
        return pc.and_(pc.is_valid(labels), pc.invert(pc.is_in(labels, known)))

    found = _first_cell(snapshot, name, is_unknown)
    if found is None:
        return ""
    return (
        f"column {name!r} holds at row {found[0]} a level that is not among the "
        f"{len(levels)} that the job names; add it, or mend the cell."
    )


def _nearest(name: str, names: Sequence[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in names}
    near = nearest(name.casefold(), folded)
    return f"; did you mean {folded[near[0]]!r}?" if near else "."


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
    stays = name in job.columns.categories or _number(job, name, type_).keeps_type
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
