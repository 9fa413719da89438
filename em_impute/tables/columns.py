"""Table columns and model columns: which column plays which part, and how cells become numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from em_impute.job import Job, JobError, Problem
from em_impute.tables.csv_text import CODE, LONG_CODE, NULL_SPELLINGS
from em_impute.tables.sources import ColumnProfile, Snapshot, read_batches

# Beyond this, floating point cannot tell every integer from its neighbours.
LARGEST_EXACT_INTEGER = 2**53
NUMBER = r"^\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[iI]nf(?:inity)?)\s*$"


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
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    impute: tuple[str, ...]
    predictors: tuple[str, ...]

    @property
    def model_columns(self) -> tuple[str, ...]:
        """Columns of the model, imputed and predicting ones, in the table's order."""
        return tuple(name for name in self.columns if name in {*self.impute, *self.predictors})

    @property
    def passthrough(self) -> tuple[str, ...]:
        """Columns that are neither in the model nor in the key."""
        parts = {*self.key, *self.impute, *self.predictors}
        return tuple(name for name in self.columns if name not in parts)


def assign_roles(snapshot: Snapshot, job: Job) -> Roles:
    """Decide the part of each column from what the job says and what the table holds.

    By default every numeric column with missing cells is imputed and every other numeric one
    predicts, the key excepted.

    Raises
    ------
    JobError
        With every problem at once: columns that the table lacks, columns in the model that are
        not numeric, imputed integers that floating point cannot hold.
    """
    problems = [
        Problem(job.place("columns", role, i), f"columns.{role}: {message}")
        for role in ("impute", "predictors", "key")
        for i, name in enumerate(getattr(job.columns, role) or ())
        if (message := _objection(snapshot, name, in_model=role != "key"))
    ]
    if problems:
        raise JobError(problems)
    roles = _roles(snapshot, job)
    if problems := [
        Problem(job.place("columns", "impute", *_position(job, name)), f"columns.impute: {message}")
        for name in roles.impute
        if (message := _integer_objection(snapshot, name))
    ]:
        raise JobError(problems)
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
        cells = batch.column(name).cast(pa.float64(), safe=False)
        X[:, j] = cells.to_numpy(zero_copy_only=False)
    return X


def _roles(snapshot: Snapshot, job: Job) -> Roles:
    said = job.columns
    free = [c for c in snapshot.columns if c.numeric and c.name not in said.key]
    impute = said.impute
    if impute is None:
        impute = tuple(c.name for c in free if c.missing and c.name not in (said.predictors or ()))
    predictors = said.predictors
    if predictors is None:
        predictors = tuple(c.name for c in free if c.name not in impute)
    columns = tuple(c.name for c in snapshot.columns)
    return Roles(
        columns,
        key=said.key,
        impute=tuple(sorted(impute, key=columns.index)),
        predictors=tuple(sorted(predictors, key=columns.index)),
    )


def _position(job: Job, name: str) -> tuple[int, ...]:
    return () if job.columns.impute is None else (job.columns.impute.index(name),)


# --- What a column cannot be used for ----------------------------------------------------------


def _objection(snapshot: Snapshot, name: str, *, in_model: bool) -> str:
    """Say what keeps a named column from its part; empty if nothing does."""
    names = [column.name for column in snapshot.columns]
    if name not in names:
        return f"the table has no column {name!r}{_nearest(name, names)} It has {_listed(names)}."
    profile = snapshot.profile(name)
    # In a CSV, a column with no observed cell has no type: that is for the preconditions to refuse.
    if not in_model or profile.numeric or profile.type == "null":
        return ""
    return _type_objection(snapshot, profile)


def _nearest(name: str, names: Sequence[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else "."


def _listed(names: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + rest


def _type_objection(snapshot: Snapshot, profile: ColumnProfile) -> str:
    if profile.type not in ("string", "large_string", "string_view"):
        return (
            f"column {profile.name!r} is of type {profile.type}; a column of the model has to be "
            "integer or floating point. Convert it, or leave it out."
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
        "Write a number there, or leave the cell empty if it stands for a missing value."
    )


def _integer_objection(snapshot: Snapshot, name: str) -> str:
    """Say where an imputed column, floating point once it is filled, would lose an integer."""
    if snapshot.profile(name).type not in ("int64", "uint64"):
        return ""
    found = _first_cell(snapshot, name, _is_beyond_floats)
    if found is None:
        return ""
    return (
        f"column {name!r} becomes floating point when it is imputed, and row {found[0]} holds an "
        "integer beyond 2^53, which would not keep its last digits. If it is an identifier, name "
        "it in columns.key; otherwise leave it out of columns.impute."
    )


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
    digits = pc.match_substring_regex(text, NUMBER)
    number = pc.and_not(digits, pc.match_substring_regex(text, f"{CODE}|{LONG_CODE}"))
    missing = pc.is_in(text, pa.array(NULL_SPELLINGS, pa.large_string()))
    return pc.invert(pc.or_(number, missing))


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
