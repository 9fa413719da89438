"""Whether a column is filled better one way or the other, tried out on the cells that are there.

A regression of each column to fill on the others stands for the model. Every observed cell is
predicted without its own row and compared on the column's own scale, as the self-test of a run
compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

import numpy as np
import pyarrow as pa

from em_impute.gaussian.arrays import Bools, Floats
from em_impute.tables.columns.encoding import to_numbers
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.transforms import Transform
from em_impute.tables.sample import sample_rows
from em_impute.tables.snapshot import Snapshot, read_batches

# So many rows are looked at, fewer where there are many columns; a regression has so many columns,
# and so many rows for each.
MOST_ROWS, MOST_CELLS, FEWEST_ROWS = 5_000, 1_000_000, 300
MOST_RELATED, ROWS_OF_RELATED = 20, 10
# What helps to fill a column is there in more than so large a share of the rows that lack it.
SHOWN = 0.5


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the observed cells of a column are predicted to be.

    Attributes
    ----------
    truth, mean : ndarray of shape (n,)
        Of the cells, on their own scale; of the prediction, on the model's.
    sd : float
        Of the prediction, on the model's scale.
    encoding : Numeric
        How the column is taken.
    by : frozenset of str
        The columns that predict it.
    """

    truth: Floats
    mean: Floats
    sd: float
    encoding: Numeric
    by: frozenset[str]

    @cached_property
    def filled(self) -> Floats:
        """What would be filled in."""
        sd = np.full_like(self.mean, self.sd)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.encoding.expected(self.mean[:, None], sd[:, None])

    @cached_property
    def error(self) -> float:
        """Root mean squared error relative to that of the mean."""
        with np.errstate(over="ignore", invalid="ignore"):
            errors = self.truth - self.filled
            ratio = float(np.sqrt(np.mean(errors**2)) / (self.truth.std() or 1.0))
        return ratio if np.isfinite(ratio) else inf

    def between(self, low: float, high: float) -> Predicted:
        """The same with bounds."""
        return replace(self, encoding=replace(self.encoding, low=low, high=high))


@dataclass(frozen=True)
class Trial:
    """Columns of numbers and times, each as the model would take it.

    Attributes
    ----------
    rows : mapping of str to ndarray
        Cells of some rows, NaN where missing.
    fill : tuple of str
        The columns to fill.
    transforms : mapping of str to Transform
        Of those that are transformed.
    """

    rows: Mapping[str, Floats]
    fill: tuple[str, ...]
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    _known: dict[str, Predicted] = field(default_factory=dict)

    def without_transform(self, name: str) -> Trial:
        """The same with one column as it is."""
        left = {n: t for n, t in self.transforms.items() if n != name}
        return replace(self, transforms=left, _known=self._known_without(name))

    def without(self, name: str) -> Trial:
        """The same without a column that predicts."""
        left = {n: x for n, x in self.rows.items() if n != name}
        return replace(self, rows=left, _known=self._known_without(name))

    def _known_without(self, name: str) -> dict[str, Predicted]:
        return {n: p for n, p in self._known.items() if name != n and name not in p.by}

    @property
    def error(self) -> float:
        """The sum of the errors of the columns to fill, each relative to its mean's."""
        return sum(self.predicted(name).error for name in self.fill)

    def predicted(self, name: str) -> Predicted:
        """Predict each observed cell of a column to fill from the others of its row."""
        if name not in self._known:
            self._known[name] = self._predict(name)
        return self._known[name]

    @cached_property
    def _shown(self) -> Bools:
        return np.column_stack([np.isfinite(self.rows[name]) for name in self.rows])

    @cached_property
    def _standardised(self) -> Floats:
        """Columns as the model takes them, of mean 0 and variance 1, means for holes."""
        columns = np.column_stack([self._scaled(name) for name in self.rows])
        holes = ~np.isfinite(columns)
        means = np.where(holes, 0.0, columns).sum(axis=0) / np.maximum((~holes).sum(axis=0), 1)
        centred: Floats = columns - means
        centred[holes] = 0.0
        sd = centred.std(axis=0)
        centred /= np.where(sd > 0, sd, 1.0)
        return centred

    def _scaled(self, name: str) -> Floats:
        cells, transform = self.rows[name], self.transforms.get(name)
        return cells if transform is None else transform.forward(cells)

    def _predict(self, name: str) -> Predicted:
        y, names = self._scaled(name), list(self.rows)
        shown, here = np.isfinite(y), names.index(name)
        y, x = y[shown], self._standardised[shown]
        related = np.argsort(-np.abs((y - y.mean()) @ x), kind="stable")
        holes = ~shown if not shown.all() else shown
        able = self._shown[holes].mean(axis=0) > SHOWN
        related = related[able[related] & (related != here)]
        related = related[: min(MOST_RELATED, len(y) // ROWS_OF_RELATED)]
        whole = self._shown[np.ix_(shown, related)].all(axis=1)
        # A mean in the place of a hole among the predictors is what the model would not take.
        if whole.sum() >= ROWS_OF_RELATED * (len(related) + 1):
            shown[shown] = whole
            y, x = y[whole], x[whole]
        design = np.column_stack([np.ones(len(y)), x[:, related]])
        mean, sd = _left_out(y, design)
        encoding = Numeric(name, back_transform="mean")
        if name in self.transforms:
            encoding = replace(encoding, transform=self.transforms[name])
        by = frozenset(names[i] for i in related)
        return Predicted(self.rows[name][shown], mean, sd, encoding, by)


def _left_out(y: Floats, design: Floats) -> tuple[Floats, float]:
    """What a regression predicts for each row that has not seen it, and the sd of its errors."""
    u, singular, _ = np.linalg.svd(design, full_matrices=False)
    u = u[:, singular > singular[0] * 1e-8]
    leverage = np.minimum((u**2).sum(axis=1), 1 - 1e-6)
    errors = (y - u @ (u.T @ y)) / (1 - leverage)
    return y - errors, float(np.sqrt(np.mean(errors**2)))


def trial_of(
    table: Snapshot,
    fill: Sequence[str],
    predictors: Sequence[str],
    transforms: Mapping[str, Transform],
) -> Trial:
    """Look at some rows of a table.

    Parameters
    ----------
    table : Snapshot
    fill, predictors : sequence of str
        Columns of numbers, and of dates that predict.
    transforms : mapping of str to Transform
    """
    names = [*fill, *predictors]
    size = max(FEWEST_ROWS, min(MOST_ROWS, MOST_CELLS // (len(fill) * len(names) or 1)))
    batches = sample_rows(read_batches(table.path, names), table.rows, size)
    parts = [np.empty((0, len(names))), *(_numbers(batches, names) if names else ())]
    rows = dict(zip(names, np.concatenate(parts).T, strict=True))
    some = tuple(n for n in fill if np.count_nonzero(np.isfinite(rows[n])) > 1)
    return Trial(rows, some, transforms)


def _numbers(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> Iterator[Floats]:
    for batch in batches:
        yield np.column_stack([_cells(batch.column(name), name) for name in names])


def _cells(cells: pa.Array, name: str) -> Floats:
    return (
        Instant(name).encode(cells)[:, 0] if pa.types.is_temporal(cells.type) else to_numbers(cells)
    )
