"""Observed cells that are hidden as real holes occur, and what a model fills them with.

Real holes are copied: for each cell to hide, a row that lacks the column is drawn, and the cells
that this row lacks are hidden in the row of the cell, too. So a cell is predicted from as much as
the holes of its column are, whether they come alone or in blocks. Of a few rows that could provide
the cell, the one that then keeps most of its cells is taken.

Only the cell itself is scored. Which cells are hidden depends on the seed and on which cells are
missing, not on batches or on the values of the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.families.mixed import Part, mixed_moments
from em_impute.gaussian.filling import FillingModel
from em_impute.gaussian.linalg import runs_of
from em_impute.job import SelfTestOptions
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import to_numbers
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.groups import group_rows
from em_impute.tables.sample import spread_ranks
from em_impute.tables.snapshot import (
    OnBatch,
    Snapshot,
    is_missing,
    read_batches,
    read_schema,
)

Bits = NDArray[np.uint8]

# So many rows are looked at for each cell, where there are as many.
LENDERS = 8
# A column is tested with so many cells or not at all: no score is that of a single one.
FEWEST_CELLS = 10
# The rows of all cells are in memory: of a wide table fewer are hidden, whose rows hold so much.
MOST_NUMBERS = 20_000_000
# Rows that are predicted at a time.
CHUNK_ROWS = 2**13

OnVisible = Callable[[str, Floats], None]
"""Takes cells of a column, by its name: numbers, or the codes of levels."""


@dataclass(frozen=True, eq=False)
class Hidden:
    """Cells to hide, column after column.

    Attributes
    ----------
    columns : tuple of str
        The columns that are tested.
    untested : tuple of str
        Those that have holes to fill, and of which no cell is hidden.
    observed : int
        Observed cells of the columns that are tested.
    column : ndarray of shape (n,), int64
        Which of `columns` each cell is in.
    row : ndarray of shape (n,), int64
        Its row, from 0.
    shown : ndarray of shape (n, n_model_columns), bool
        Which columns of the model the row is left to show when the cell is predicted.
    """

    columns: tuple[str, ...]
    untested: tuple[str, ...]
    observed: int
    column: Ints
    row: Ints
    shown: Bools

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class HiddenNumbers:
    """Hidden cells of a column of numbers, and what the model says of them.

    Attributes
    ----------
    column : str
    transform : str
        The name of its transform, which the model's scale is due to.
    truth, filled : ndarray of shape (n,)
        What the cells hold, and what they would be filled with by ``method: mean``.
    on_scale, below, above : ndarray of shape (n,)
        The truth on the model's scale, and between which numbers there it would be published as
        what it is: other ones where the column is rounded.
    mean, sd : ndarray of shape (n,)
        Of the model's conditional distribution, on its scale.
    parts : tuple of Part
        The normals that this is made of, where they are several.
    usual : tuple of (float, float, float)
        Weights, means and sds of the normals that the model has for all rows.
    low, high : float
        The bounds of both, on the model's scale.
    """

    column: str
    transform: str
    truth: Floats
    filled: Floats
    on_scale: Floats
    below: Floats
    above: Floats
    mean: Floats
    sd: Floats
    parts: tuple[Part, ...]
    usual: tuple[tuple[float, float, float], ...]
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class HiddenLevels:
    """Hidden cells of a column of levels: the codes that they hold, and would be filled with."""

    column: str
    truth: Ints
    filled: Ints


# --- Which cells -------------------------------------------------------------------------------


class Choosing:
    """Chooses the cells to hide in one pass that looks only at which cells are missing.

    Each column of ``roles.impute`` that has holes gets an equal share of ``options.max_cells``, but
    at most ``options.most_cells_of`` its observed ones; what one column cannot use, others get. A
    column that would get fewer than `FEWEST_CELLS` is not tested; with too many columns, those with
    the fewest holes are not tested. The rows of all cells hold `MOST_NUMBERS` at most.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    options : SelfTestOptions
    """

    def __init__(self, snapshot: Snapshot, roles: Roles, options: SelfTestOptions) -> None:
        most_cells = min(options.max_cells, MOST_NUMBERS // max(len(roles.dimensions), 1))
        holed = [p for p in map(snapshot.profile, roles.impute) if p.missing]
        most = {
            p.name: options.most_cells_of(snapshot.rows - p.missing, len(holed))
            for p in holed
            if roles.encoding(p.name).dimensions
        }
        able = [p for p in holed if most.get(p.name, 0) >= FEWEST_CELLS]
        by_holes = sorted(able, key=lambda profile: -profile.missing)
        chosen = {profile.name for profile in by_holes[: most_cells // FEWEST_CELLS]}
        tested = [profile for profile in holed if profile.name in chosen]
        observed = [snapshot.rows - profile.missing for profile in tested]
        sizes = _shared_out(most_cells, [most[profile.name] for profile in tested])
        self._tested = tuple(profile.name for profile in tested)
        self._untested = tuple(profile.name for profile in holed if profile.name not in chosen)
        self._observed = sum(observed)
        self._columns, self._first_row = roles.model_columns, 0
        self._draws = [
            _Draw.of(self._columns, p.name, size, cells, p.missing, options.seed)
            for p, size, cells in zip(tested, sizes, observed, strict=True)
        ]

    @property
    def watched(self) -> Sequence[str]:
        """The columns that it looks at; none if there is nothing to choose."""
        return self._columns if self._draws else ()

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows, of which other columns do not matter."""
        if self._draws:
            shows = _shows(batch, self._columns)
            for draw in self._draws:
                draw.add(shows, self._first_row)
        self._first_row += batch.num_rows

    @cached_property
    def found(self) -> Hidden:
        """The cells, when all rows have been looked at."""
        n_columns = len(self._columns)
        pairs = [_Ranked.nothing(n_columns), *(draw.pairs() for draw in self._draws)]
        rows, bits = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return Hidden(
            self._tested,
            self._untested,
            self._observed,
            np.repeat(np.arange(len(self._draws)), [len(rows) for rows, _ in pairs[1:]]),
            rows,
            np.unpackbits(bits, axis=1, count=n_columns).astype(bool),
        )


def choose_cells(snapshot: Snapshot, roles: Roles, options: SelfTestOptions) -> Hidden:
    """Return the cells to hide, which `Choosing` chooses in a pass of its own.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    options : SelfTestOptions
    """
    choosing = Choosing(snapshot, roles, options)
    for batch in read_batches(snapshot.path, names) if (names := choosing.watched) else ():
        choosing.add(batch)
    return choosing.found


def _shared_out(total: int, most: Sequence[int]) -> list[int]:
    """Share out `total` equally, but to each no more than its most."""
    shares, left = [0] * len(most), total
    for done, i in enumerate(np.argsort(most, kind="stable").tolist()):
        shares[i] = min(most[i], left // (len(most) - done))
        left -= shares[i]
    return shares


def _shows(batch: pa.RecordBatch, columns: Sequence[str]) -> Bools:
    """Which cells are observed, of shape (n_rows, n_columns)."""
    shows = np.empty((batch.num_rows, len(columns)), dtype=bool, order="F")
    for j, name in enumerate(columns):
        shows[:, j] = ~is_missing(batch.column(name))
    return shows


@dataclass
class _Ranked:
    """Rows that are picked by their rank among some rows, and what they show, as bits."""

    ranks: Ints
    n_columns: int
    passed: int = 0
    rows: list[Ints] = field(default_factory=list)
    shown: list[Bits] = field(default_factory=list)

    def add(self, among: Bools, shows: Bools, first_row: int) -> None:
        count = int(np.count_nonzero(among))
        first, last = np.searchsorted(self.ranks, [self.passed, self.passed + count])
        if first < last:
            at = np.flatnonzero(among)[self.ranks[first:last] - self.passed]
            self.rows.append(at + first_row)
            self.shown.append(np.packbits(shows[at], axis=1))
        self.passed += count

    def found(self) -> tuple[Ints, Bits]:
        """The rows, and what they show."""
        no_rows, no_bits = self.nothing(self.n_columns)
        return np.concatenate([no_rows, *self.rows]), np.concatenate([no_bits, *self.shown])

    @staticmethod
    def nothing(n_columns: int) -> tuple[Ints, Bits]:
        """No rows, which show nothing."""
        return np.empty(0, np.int64), np.empty((0, -(-n_columns // 8)), np.uint8)


@dataclass
class _Draw:
    """The cells of one column that are drawn, and the holes that are moved there."""

    column: int
    size: int
    lenders: _Ranked
    holes: _Ranked
    rng: np.random.Generator

    @classmethod
    def of(
        cls, columns: Sequence[str], name: str, size: int, observed: int, missing: int, seed: int
    ) -> _Draw:
        # A column's cells do not depend on which other columns are tested.
        seeds = [seed, crc32(name.encode())]
        lenders = spread_ranks(observed, min(LENDERS * size, observed), [*seeds, 0])
        holes = spread_ranks(missing, min(size, missing), [*seeds, 1])
        return cls(
            columns.index(name),
            size,
            _Ranked(lenders, len(columns)),
            _Ranked(holes, len(columns)),
            np.random.default_rng([*seeds, 2]),
        )

    def add(self, shows: Bools, first_row: int) -> None:
        observed = shows[:, self.column]
        self.lenders.add(observed, shows, first_row)
        self.holes.add(~observed, shows, first_row)

    def pairs(self) -> tuple[Ints, Bits]:
        """The row of each cell, ascending, and what it is left to show."""
        rows, shown = self.lenders.found()
        _, wanted = self.holes.found()
        n = min(self.size, len(rows)) if len(wanted) else 0
        if not n:
            return rows[:0], shown[:0]
        offers = self.rng.permutation(len(rows))[: len(rows) // n * n].reshape(n, -1)
        wanted = wanted[self.rng.permutation(n) % len(wanted)]
        lost = np.bitwise_count(wanted[:, None] & ~shown[offers]).sum(axis=2)
        taken = offers[np.arange(n), lost.argmin(axis=1)]
        order = np.argsort(taken)
        return rows[taken][order], (shown[taken] & wanted)[order]


# --- What the model says of them ---------------------------------------------------------------


class HiddenRows:
    """The rows of hidden cells, which are gathered while the table is read once more.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    hidden : Hidden
    on_visible : callable
        Gets the observed cells of the tested columns, in portions.
    on_batch : callable, optional
        Gets the batches of the table, with the columns of the model and those that tell groups.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        roles: Roles,
        hidden: Hidden,
        on_visible: OnVisible,
        on_batch: OnBatch = lambda _: None,
    ) -> None:
        self.snapshot, self._roles, self._hidden = snapshot, roles, hidden
        self._on_visible, self._on_batch = on_visible, on_batch
        self._by_row = np.argsort(hidden.row, kind="stable")
        self._X = np.empty((len(hidden), len(roles.dimensions)))
        self._truth = np.empty(len(hidden))
        # A label can be a character of which NumPy's texts would make nothing: groups are numbered.
        self._groups: dict[str, int] = {}
        self._group = np.zeros(len(hidden), dtype=np.int64)
        columns = roles.model_columns
        self._widths = [len(roles.encoding(name).dimensions) for name in columns]
        ends = np.cumsum(self._widths).tolist()
        self._at = {
            name: slice(end - width, end)
            for name, width, end in zip(columns, self._widths, ends, strict=True)
        }

    def gather(self) -> None:
        """Read the table as it is."""
        for batch, _, _ in self._batches():
            for name in self._hidden.columns:
                cells, observed = self._cells(batch, name)
                self._on_visible(name, cells[observed])

    def gather_hiding(self) -> Iterator[tuple[pa.RecordBatch, Floats]]:
        """Read the table, and yield batches, also as the model takes them, without hidden cells.

        Nor are these among those that `on_visible` gets.
        """
        for batch, cells, at in self._batches():
            X = self._roles.encode(batch)
            for j, name in enumerate(self._hidden.columns):
                mine = at[self._hidden.column[cells] == j]
                X[mine, self._at[name]] = np.nan
                values, observed = self._cells(batch, name)
                observed[mine] = False
                self._on_visible(name, values[observed])
            yield batch, X

    def predicted(
        self, model: FillingModel, groups: Mapping[str, FillingModel]
    ) -> Iterator[HiddenNumbers | HiddenLevels]:
        """Yield what the models say of the hidden cells, by column."""
        mean, sd, parts = self._conditional(model, groups)
        schema = read_schema(self.snapshot.path)
        for j, name in enumerate(self._hidden.columns):
            cells, at = np.flatnonzero(self._hidden.column == j), self._at[name]
            if not len(cells):
                continue
            encoding, truth, k = self._roles.filling(name), self._truth[cells], at.stop - at.start
            filling = encoding.expected(mean[cells, :k], sd[cells, :k])
            if not isinstance(encoding, Numeric):
                yield HiddenLevels(name, truth.astype(np.int64), filling.astype(np.int64))
                continue
            type_ = encoding.filled_type(schema.field(name).type)
            below, above = encoding.published_as(truth)
            low, high = encoding.ends
            yield HiddenNumbers(
                name,
                encoding.transform.name,
                truth,
                encoding.admissible(filling, type_).astype(np.float64),
                self._X[cells, at.start],
                below,
                above,
                mean[cells, 0],
                sd[cells, 0],
                tuple((w[cells], m[cells], s[cells]) for w, m, s in parts),
                tuple((w, float(g.mean[at.start]), float(g.sd[at.start])) for w, g in model.parts),
                low,
                high,
            )

    def _conditional(
        self, model: FillingModel, groups: Mapping[str, FillingModel]
    ) -> tuple[Floats, Floats, tuple[Part, ...]]:
        """Mean and sd of each cell in the columns that it has in the model, the first ones here.

        And the normals behind the first of them, where these are several.
        """
        places = [self._at[name] for name in self._hidden.columns]
        firsts = np.array([at.start for at in places], dtype=np.int64)[self._hidden.column]
        widths = np.array([at.stop - at.start for at in places], dtype=np.int64)
        width_of_cell = widths[self._hidden.column]
        mean = np.empty((len(self._hidden), widths.max(initial=0)))
        sd = np.empty_like(mean)
        most = max(len(one.parts) for one in (model, *groups.values()))
        # Where a group's model has fewer, the others weigh nothing.
        parts = np.zeros((most, 3, len(self._hidden)))
        for k in np.unique(width_of_cell).tolist():
            cells = np.flatnonzero(width_of_cell == k)
            for own, mine in self._models(cells, model, groups):
                for part in runs_of(mine, CHUNK_ROWS):
                    found = own.conditional_parts(
                        self._left_to_show(part), firsts[part, None] + np.arange(k)
                    )
                    mean[part, :k], sd[part, :k] = mixed_moments(found)
                    for g, (weights, means, sds) in enumerate(found):
                        parts[g][:, part] = weights, means[:, 0], sds[:, 0]
        return mean, sd, tuple((w, m, s) for w, m, s in parts) if most > 1 else ()

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, Ints, Ints]]:
        """Each batch, which cells are hidden in it, and in which of its rows these are."""
        rows, first_row = self._hidden.row[self._by_row], 0
        columns = (*self._roles.model_columns, *self._roles.group_by)
        for batch in read_batches(self.snapshot.path, columns):
            first, last = np.searchsorted(rows, [first_row, first_row + batch.num_rows])
            cells = self._by_row[first:last]
            at = self._hidden.row[cells] - first_row
            self._on_batch(batch)
            self._keep(batch, cells, at)
            yield batch, cells, at
            first_row += batch.num_rows

    def _keep(self, batch: pa.RecordBatch, cells: Ints, at: Ints) -> None:
        taken = batch.take(pa.array(at))
        self._X[cells] = self._roles.encode(taken)
        for j in np.unique(self._hidden.column[cells]).tolist():
            mine = self._hidden.column[cells] == j
            own = batch.select([self._hidden.columns[j]]).take(pa.array(at[mine]))
            self._truth[cells[mine]] = self._cells(own, self._hidden.columns[j])[0]
        if self._roles.group_by:
            for label, rows in group_rows(taken, self._roles):
                self._group[cells[rows]] = self._groups.setdefault(label, len(self._groups))

    def _cells(self, batch: pa.RecordBatch, name: str) -> tuple[Floats, Bools]:
        """The cells of a column, numbers or codes, and which of them are observed."""
        encoding, column = self._roles.encoding(name), batch.column(name)
        if isinstance(encoding, Nominal | Ordinal):
            codes = encoding.codes(column).astype(np.float64)
            return codes, codes >= 0
        numbers = to_numbers(column)
        return numbers, ~np.isnan(numbers)

    def _models(
        self, cells: Ints, model: FillingModel, groups: Mapping[str, FillingModel]
    ) -> Iterator[tuple[FillingModel, Ints]]:
        """The models that fill some cells, each with those that it fills."""
        if not self._groups:
            yield model, cells
        for label, number in self._groups.items():
            yield groups.get(label, model), cells[self._group[cells] == number]

    def _left_to_show(self, cells: Ints) -> Floats:
        shown = np.repeat(self._hidden.shown[cells], self._widths, axis=1)
        return np.where(shown, self._X[cells], np.nan)
