"""Errors of what is pooled from draws at one estimate, by the scores of the rows.

Robins & Wang (2000): an analysis of imputed tables is moved by a row in two ways. One is the row's
own influence, with its missing cells averaged over the imputations; the other leads through the
estimate that all cells are drawn from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.inference import precision_of
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.scores import row_scores
from em_impute.gaussian.table import Table


class ScoreSums:
    """What the rows of a table and of its imputations say together, added up table by table.

    With the mean influence ``u_i`` of a row over the imputations, its score ``s_i`` of the observed
    cells, the covariance ``V`` of the estimates and ``K = mean sum u_i (score of the completed row
    - s_i)^T``, the analysis is moved by ``h_i = u_i + K V s_i``, and has the covariance
    ``sum h_i h_i^T``.

    Parameters
    ----------
    table : array_like or DataFrame
        The one that was imputed.
    model : GaussianModel
        What all imputations were drawn from.
    prior_rows : float
        Of the fit.
    """

    def __init__(self, table: Any, model: GaussianModel, prior_rows: float) -> None:
        self._columns = list(model.columns)
        X = self._matrix(table)
        summary = PatternSummary.from_array(X, self._columns)
        self._scaling = Standardisation.of(summary)
        self._at = self._scaling.standardise(model)
        self._X, self._prior_rows = X, prior_rows
        self._rows = WeightedRows.of(
            summary, self._scaling.varying, self._scaling.centre, self._scaling.scale
        )
        self._influence: Floats | float = 0.0
        self._squares: Floats | float = 0.0
        self._beside: Floats | float = 0.0
        self._m = 0

    def __len__(self) -> int:
        return len(self._X)

    def add(self, completed: Any, influence: Floats) -> None:
        """Take in an imputed table and by how much each of its rows moves its analysis, (n, k)."""
        scores = row_scores(self._matrix(completed), self._scaling, self._at)
        self._beside = self._beside + sum(influence[rows].T @ found for rows, found in scores)
        self._influence = self._influence + influence
        self._squares = self._squares + influence.T @ influence
        self._m += 1

    def covariances(self) -> tuple[Floats, Floats]:
        """Of the analysis of a complete table, and of the mean of the analyses, both (k, k).

        Raises
        ------
        Undetermined
            If the data leave a combination of parameters open.
        """
        names, every = self._scaling.varying_names, np.arange(len(self._scaling.varying))
        errors = precision_of(self._rows, self._at, self._prior_rows, every, names).observed
        influence = np.asarray(self._influence) / self._m
        beside, squares = np.zeros((influence.shape[1], len(errors))), np.zeros_like(errors)
        for rows, scores in row_scores(self._X, self._scaling, self._at):
            beside += influence[rows].T @ scores
            squares += scores.T @ scores
        through = (self._beside / self._m - beside) @ errors
        crossed = beside @ through.T
        total: Floats = (
            influence.T @ influence + crossed + crossed.T + through @ squares @ through.T
        )
        return np.asarray(self._squares) / self._m, total

    def _matrix(self, table: Any) -> Any:
        named = hasattr(table, "columns")
        return Table.of(table[self._columns] if named else table).in_order_of(self._columns)
