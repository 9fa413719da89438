"""Whether filling has changed nothing but the holes: the two tables compared, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.checks.results import CheckResult
from em_impute.job.legible import one_line


def check_invariants(
    before: Iterable[pa.RecordBatch],
    after: Iterable[pa.RecordBatch],
    imputed: Sequence[str],
    key: Sequence[str],
    spellings: Mapping[str, str] | None = None,
) -> tuple[CheckResult, ...]:
    """Return what filling has kept, of the table that was read and the filled one, cell by cell.

    Parameters
    ----------
    before, after : iterable of RecordBatch
        The rows of both tables, in order; the batches of one need not fit those of the other.
    imputed : sequence of str
        The columns that were filled.
    key : sequence of str
        The columns that identify a row.
    spellings : mapping of str to str, optional
        Of columns, the names of those that hold how the observed cells of these are spelled.

    Returns
    -------
    tuple of CheckResult
        All critical. A table that cannot be read to its end is one failure, never an exception.
    """
    try:
        compared = _compare(Rows(before), Rows(after), tuple(imputed), tuple(key), spellings or {})
        return tuple(compared)
    except (pa.ArrowException, OSError) as error:
        unreadable = f"could not be read to its end: {type(error).__name__}"
        return (invariant("readable", "both tables can be read again", unreadable),)


@dataclass(frozen=True)
class _Invariant:
    name: str
    expected: str
    columns: tuple[str, ...]
    holds: Callable[[pa.Array, pa.Array], bool]


def _invariants(
    names: Sequence[str],
    imputed: tuple[str, ...],
    key: tuple[str, ...],
    spellings: Mapping[str, str],
) -> list[_Invariant]:
    texts = tuple(spellings.values())
    others = tuple(name for name in names if name not in {*imputed, *key, *texts})
    filled = ", ".join(imputed)
    invariants = [
        _Invariant("same_keys", f"key of every row kept ({', '.join(key)})", key, _identical),
        _Invariant("other_cells", "every cell of the other columns kept", others, _identical),
        _Invariant("observed_cells", f"observed cells of {filled} kept", imputed, _observed_kept),
        _Invariant("spellings", "observed cells spelled as they were", texts, _observed_kept),
        _Invariant("no_missing_cell", f"no missing cell in {filled}", imputed, _none_missing),
        _Invariant("no_infinite_cell", f"no infinite cell in {filled}", imputed, _none_infinite),
    ]
    return [invariant for invariant in invariants if invariant.columns]


def _compare(
    before: Rows,
    after: Rows,
    imputed: tuple[str, ...],
    key: tuple[str, ...],
    spellings: Mapping[str, str],
) -> Iterator[CheckResult]:
    invariants = _invariants(before.schema.names, imputed, key, spellings)
    column_of = {text: name for name, text in spellings.items()}
    broken: dict[str, str] = {}
    for start, old, new in side_by_side(before, after):
        for one in invariants:
            if one.name not in broken and (first := _first_break(one, old, new)):
                row, column = first[0], column_of.get(first[1], first[1])
                broken[one.name] = f"not so in row {start + row}, column {one_line(column)}"
    shape = _other_columns(before.schema, after.schema, imputed)
    yield invariant("same_columns", "columns kept, with their order and types", shape, after.taken)
    yield invariant("same_rows", "number of rows kept", _other_rows(before, after), after.taken)
    for one in invariants:
        yield invariant(one.name, one.expected, broken.get(one.name), after.taken)


def invariant(name: str, expected: str, broken: str | None, rows: int = 0) -> CheckResult:
    """Return the result of one invariant.

    Parameters
    ----------
    name : str
    expected : str
        What must hold, in words.
    broken : str or None
        What was seen where it does not; None where it does.
    rows : int
        How many were compared.
    """
    observed = broken or f"{rows} rows compared"
    return CheckResult(
        name, None, one_line(expected), "critical", broken is None, observed, "invariant"
    )


class Rows:
    """The rows of a table, taken in portions of any size.

    Attributes
    ----------
    schema : Schema
    taken : int
        Rows that were taken.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rest: Any = next(self._batches, None)
        self.schema = pa.schema([]) if self._rest is None else self._rest.schema
        self.taken = 0

    def ready(self) -> int:
        """Return the number of rows that can be taken at once; 0 at the end."""
        while self._rest is not None and not self._rest.num_rows:
            self._rest = next(self._batches, None)
        return 0 if self._rest is None else int(self._rest.num_rows)

    def take(self, rows: int) -> pa.RecordBatch:
        """Return the next rows, at most as many as are ready."""
        portion, self._rest = self._rest.slice(0, rows), self._rest.slice(rows)
        self.taken += rows
        return portion


def side_by_side(before: Rows, after: Rows) -> Iterator[tuple[int, pa.RecordBatch, pa.RecordBatch]]:
    """Pair portions of equally many rows, with the number of their first, to the end of both."""
    while rows := min(before.ready(), after.ready()):
        yield before.taken + 1, before.take(rows), after.take(rows)
    for table in (before, after):
        while rows := table.ready():
            table.take(rows)


def _other_rows(before: Rows, after: Rows) -> str | None:
    if before.taken == after.taken:
        return None
    return f"{before.taken} rows before, {after.taken} after"


def _other_columns(before: pa.Schema, after: pa.Schema, imputed: Sequence[str]) -> str | None:
    if lost := [name for name in before.names if name not in after.names]:
        return f"column {one_line(lost[0])} is not there any more"
    if added := [name for name in after.names if name not in before.names]:
        return f"column {one_line(added[0])} has been added"
    if before.names != after.names:
        return "they are in another order"
    for old, new in zip(before, after, strict=True):
        widened = old.name in imputed and pa.types.is_integer(old.type) and new.type == pa.float64()
        if not widened and _plain_type(old.type) != _plain_type(new.type):
            return f"column {one_line(old.name)} was {old.type}, is {new.type}"
    return None


def _first_break(
    invariant: _Invariant, before: pa.RecordBatch, after: pa.RecordBatch
) -> tuple[int, str] | None:
    """Find the first row (from 0) and column for which an invariant does not hold."""
    breaks = []
    for name in invariant.columns:
        old, new = (batch.schema.get_field_index(name) for batch in (before, after))
        if old < 0 or new < 0:
            breaks.append((0, name))
        elif (row := _bisect(invariant.holds, before.column(old), after.column(new))) is not None:
            breaks.append((row, name))
    return min(breaks, default=None)


def _bisect(
    holds: Callable[[pa.Array, pa.Array], bool], before: pa.Array, after: pa.Array
) -> int | None:
    """Find the first row (from 0) that breaks what holds of all rows as long as of each."""
    if _safely(holds, before, after):
        return None
    first, length = 0, len(before)
    while length > 1:
        half = length // 2
        if _safely(holds, before.slice(first, half), after.slice(first, half)):
            first, length = first + half, length - half
        else:
            length = half
    return first


def _safely(holds: Callable[[pa.Array, pa.Array], bool], before: pa.Array, after: pa.Array) -> bool:
    """Take it for broken where Arrow cannot even compare."""
    with suppress(pa.ArrowException):
        return holds(before, after)
    return False


def _identical(before: pa.Array, after: pa.Array) -> bool:
    before, after = _plain(before), _plain(after)
    if before.type != after.type:
        return False
    return bool(_bits(before).equals(_bits(after)))


def _observed_kept(before: pa.Array, after: pa.Array) -> bool:
    before, after = _plain(before), _plain(after)
    observed = pc.invert(pc.is_null(before, nan_is_null=True))
    kept = pc.if_else(observed, after, pa.scalar(None, after.type))
    if pa.types.is_integer(before.type) and after.type == pa.float64():
        return bool(kept.cast(before.type).equals(before))  # refuses what is not that integer
    return _identical(pc.if_else(observed, before, pa.scalar(None, before.type)), kept)


def _none_missing(_: pa.Array, after: pa.Array) -> bool:
    return not pc.any(pc.is_null(after, nan_is_null=True)).as_py()


def _none_infinite(before: pa.Array, after: pa.Array) -> bool:
    plain = _plain_type(before.type)
    if not (pa.types.is_floating(plain) or pa.types.is_integer(plain)):
        return True  # levels
    return not pc.any(pc.is_inf(_plain(after))).as_py()


def _plain(array: pa.Array) -> pa.Array:
    """Look through encodings: a file may come back with another dictionary of the same values."""
    if isinstance(array, pa.ExtensionArray):
        return _plain(array.storage)
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())  # of which Arrow can do more
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _plain_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _bits(array: pa.Array) -> pa.Array:
    """View floats as integers: for `equals`, NaN differs from itself and -0.0 is 0.0."""
    bits = _bit_type(array.type)
    if bits == array.type:
        return array
    if not pa.types.is_floating(array.type):
        return array.view(bits)
    # Every NaN alike: CSV cannot keep which of them it was.
    nan = pa.scalar(math.nan, pa.float64()).cast(array.type)
    return pc.if_else(pc.is_nan(array), nan, array).view(bits)


def _bit_type(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(type_):
        return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[type_.bit_width]
    if pa.types.is_list(type_):
        return pa.list_(_bit_type(type_.value_type))
    if pa.types.is_large_list(type_):
        return pa.large_list(_bit_type(type_.value_type))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_bit_type(type_.value_type), type_.list_size)
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _bit_type(field.type)) for field in type_])
    return type_
