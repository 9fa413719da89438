"""Columns by columns: which go missing together, and how they correlate."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """The model's correlation matrix.

    Attributes
    ----------
    columns : tuple of str
        Columns of the model that vary, at most `MATRIX_COLUMNS`.
    below : tuple of tuple of float
        The correlations of each column with those before it.
    total_columns : int
        Columns that vary, shown or not.
    strongest : tuple of (str, str, float)
        Of all columns, the pairs with the largest correlations, at most `MAX_PAIRS`.
    """

    columns: tuple[str, ...]
    below: tuple[tuple[float, ...], ...]
    total_columns: int
    strongest: tuple[tuple[str, str, float], ...]

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


def describe_correlations(model: FillingModel, missing: Sequence[int]) -> Correlations | None:
    """Describe the correlations of a model; None where fewer than two columns vary.

    Parameters
    ----------
    model : FillingModel
    missing : sequence of int
        Missing cells of each of its columns: those with the most are shown.
    """
    varying = np.flatnonzero(model.sd > 0)
    if len(varying) < 2:
        return None
    matrix = model.correlation
    ranked = varying[np.argsort(-np.asarray(missing)[varying], kind="stable")]
    shown = np.sort(ranked[:MATRIX_COLUMNS])
    shown = shown[_order(matrix[np.ix_(shown, shown)])]
    return Correlations(
        columns=tuple(model.columns[j] for j in shown),
        below=tuple(tuple(matrix[i, shown[:k]].tolist()) for k, i in enumerate(shown)),
        total_columns=len(varying),
        strongest=_strongest(matrix[np.ix_(varying, varying)], [model.columns[j] for j in varying]),
    )


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
