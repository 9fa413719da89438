"""Columns by columns: which go missing together, and how they correlate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.filling import FillingModel
from em_impute.reporting.missingness import PORTION, Counted, missing_cells

MATRIX_COLUMNS = 40
# With more columns than this, those that are alike stand next to each other.
FEW_COLUMNS = 12
MAX_PAIRS = 10


@dataclass(frozen=True)
class Pair:
    """Two columns that go missing together, or apart, in more rows than by chance.

    Attributes
    ----------
    first, second : str
    both : int
        Rows that miss both.
    share_of_first, share_of_second : float
        These as a fraction of the rows that miss the one column.
    correlation : float
        Of the two columns' missingness (phi).
    """

    first: str
    second: str
    both: int
    share_of_first: float
    share_of_second: float
    correlation: float


@dataclass(frozen=True)
class Together:
    """Which columns are missing in the same rows.

    Attributes
    ----------
    columns : tuple of str
        Those with the most missing cells.
    both : tuple of tuple of int
        Rows that miss the column of the line and that of the place; on the diagonal, either.
    total_columns : int
        Columns with missing cells, shown or not.
    total_rows : int
    """

    columns: tuple[str, ...]
    both: tuple[tuple[int, ...], ...]
    total_columns: int
    total_rows: int

    def shares(self) -> Floats:
        """Of the rows that miss the column of the line, the share that miss that of the place."""
        both = np.array(self.both, dtype=float)
        shares: Floats = both / np.diag(both)[:, None]
        return shares

    def correlations(self) -> Floats:
        """Correlation matrix of missingness (phi); NaN where all cells of a column are missing."""
        return _phi(np.array(self.both, dtype=float), self.total_rows)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that are furthest from missing independently, at most `MAX_PAIRS`."""
        shares, phi = self.shares(), self.correlations()
        first, second = np.triu_indices(len(self.columns), 1)
        strength = np.nan_to_num(np.abs(phi[first, second]))
        ranked = np.argsort(-strength, kind="stable")[:MAX_PAIRS]
        return tuple(
            Pair(
                self.columns[i],
                self.columns[j],
                self.both[i][j],
                float(shares[i, j]),
                float(shares[j, i]),
                float(phi[i, j]),
            )
            for i, j in zip(first[ranked].tolist(), second[ranked].tolist(), strict=True)
            if math.isfinite(phi[i, j])
        )


@dataclass(frozen=True)
class Correlations:
    """The model's correlations of the table's columns.

    Of a column with several dimensions, a nominal one, it is the canonical correlation: the largest
    of any two combinations of the dimensions of both (Hotelling 1936), which has no sign.

    Attributes
    ----------
    columns : tuple of str
        Columns that vary, at most `MATRIX_COLUMNS`.
    below : tuple of tuple of float
        The correlations of each column with those before it.
    total_columns : int
        Columns that vary, shown or not.
    strongest : tuple of (str, str, float)
        Of all columns, the pairs with the largest correlations, at most `MAX_PAIRS`.
    nominal : bool
        Whether any of them has several dimensions.
    """

    columns: tuple[str, ...]
    below: tuple[tuple[float, ...], ...]
    total_columns: int
    strongest: tuple[tuple[str, str, float], ...]
    nominal: bool = False

    def matrix(self) -> Floats:
        """The correlation matrix."""
        p = len(self.columns)
        lower = np.zeros((p, p))
        for i, row in enumerate(self.below):
            lower[i, :i] = row
        return lower + lower.T + np.eye(p)


def describe_together(counted: Counted) -> Together | None:
    """Count the rows that miss two columns; None where fewer than two have missing cells."""
    missing = missing_cells(counted)
    ranked = np.argsort(-missing, kind="stable")[: np.count_nonzero(missing)]
    shown = ranked[:MATRIX_COLUMNS]
    if len(shown) < 2:
        return None
    both = np.zeros((len(shown), len(shown)))
    for start in range(0, len(counted.counts), PORTION):
        portion = slice(start, start + PORTION)
        holes = (~counted.patterns[portion][:, shown]).astype(float)
        both += holes.T @ (counted.counts[portion, None] * holes)
    rows = int(counted.counts.sum())
    order = _order(_phi(both, rows))
    return Together(
        columns=tuple(counted.columns[j] for j in shown[order]),
        both=tuple(map(tuple, both[np.ix_(order, order)].astype(np.int64).tolist())),
        total_columns=len(ranked),
        total_rows=rows,
    )


def describe_correlations(
    model: FillingModel, missing: Sequence[int], columns: Mapping[str, slice] | None = None
) -> Correlations | None:
    """Describe the correlations of a model; None where fewer than two columns vary.

    Parameters
    ----------
    model : FillingModel
    missing : sequence of int
        Missing cells of each of its dimensions: columns with the most are shown.
    columns : mapping of str to slice, optional
        The table's columns, each with where its dimensions are; by default each of these is one.
    """
    given = columns or {name: slice(j, j + 1) for j, name in enumerate(model.columns)}
    varying = {name: at.start + np.flatnonzero(model.sd[at] > 0) for name, at in given.items()}
    places = {name: at for name, at in varying.items() if len(at)}
    if len(places) < 2:
        return None
    names = list(places)
    matrix = _canonical(model.correlation, list(places.values()))
    most = np.array([max(missing[j] for j in at) for at in places.values()])
    shown = np.sort(np.argsort(-most, kind="stable")[:MATRIX_COLUMNS])
    shown = shown[_order(matrix[np.ix_(shown, shown)])]
    return Correlations(
        columns=tuple(names[j] for j in shown),
        below=tuple(tuple(matrix[i, shown[:k]].tolist()) for k, i in enumerate(shown)),
        total_columns=len(names),
        strongest=_strongest(matrix, names),
        nominal=any(len(at) > 1 for at in places.values()),
    )


def _canonical(correlation: Floats, places: Sequence[Ints]) -> Floats:
    """The canonical correlations of blocks; of two single columns theirs, with its sign."""
    alone = [at[0] for at in places]
    matrix: Floats = correlation[np.ix_(alone, alone)].copy()
    white = [_whitening(correlation[np.ix_(at, at)]) for at in places]
    for i, rows in enumerate(places):
        for j, columns in enumerate(places[:i]):
            if len(rows) > 1 or len(columns) > 1:
                across = white[i] @ correlation[np.ix_(rows, columns)] @ white[j]
                matrix[i, j] = matrix[j, i] = min(float(np.linalg.norm(across, 2)), 1.0)
    return matrix


def _whitening(block: Floats) -> Floats:
    """The inverse root of a correlation matrix, without directions that do not vary."""
    values, vectors = np.linalg.eigh(block)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    roots: Floats = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    return roots


def _phi(both: Floats, rows: int) -> Floats:
    missing = np.diag(both)
    spread = np.sqrt(missing * (rows - missing))
    with np.errstate(invalid="ignore", divide="ignore"):
        phi: Floats = (rows * both - np.outer(missing, missing)) / np.outer(spread, spread)
    return phi


def _strongest(matrix: Floats, columns: Sequence[str]) -> tuple[tuple[str, str, float], ...]:
    first, second = np.triu_indices(len(columns), 1)
    values = matrix[first, second]
    ranked = np.argsort(-np.abs(values), kind="stable")[:MAX_PAIRS]
    return tuple((columns[first[k]], columns[second[k]], float(values[k])) for k in ranked)


def _order(correlations: Floats) -> Ints:
    """An order in which columns that are alike stand next to each other, where there are many.

    Average linkage of ``1 - |r|``, its leaves in the best order (Bar-Joseph et al. 2001).
    """
    p = len(correlations)
    if p <= FEW_COLUMNS:
        return np.arange(p)
    distances = 1.0 - np.clip(np.abs(np.nan_to_num(correlations)), 0.0, 1.0)
    np.fill_diagonal(distances, 0.0)
    distances = squareform((distances + distances.T) / 2, checks=False)
    leaves = hierarchy.leaves_list(hierarchy.linkage(distances, "average", optimal_ordering=True))
    return np.asarray(leaves, dtype=np.int64)
