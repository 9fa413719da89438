"""The energy-I-score of a model's draws: it ranks imputations that hidden cells alone do not.

The scores of hidden cells compare values one by one, where cells happen to be observed. The
energy-I-score (Näf, Grzesiak & Scornet 2025) asks whether what was drawn for the rows that miss a
column tells the distribution of its observed cells. Where cells are missing at random, it is the
true conditional distribution that scores best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.gaussian.filling import FillingModel
from em_impute.gaussian.threads import one_blas_thread
from em_impute.self_test.scores import EnergyIScore, EnergyScore, Forecasts
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.sample import RowSample
from em_impute.tables.snapshot import Snapshot

# At most so many rows and cells of the table are scored: a regression a column is made on them.
SCORED_ROWS, SCORED_CELLS = 10_000, 500_000
# A column is scored if so many rows show it and so many do not, of these some a coefficient.
FEWEST_ROWS, ROWS_A_COEFFICIENT = 10, 3


@dataclass(frozen=True)
class Scored:
    """A column to score: its name, its place in the rows, and its bounds there."""

    column: str
    at: int
    low: float = -np.inf
    high: float = np.inf


class DrawScores:
    """Scores a model's draws on a sample of the table's rows, which it takes as they pass.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    """

    def __init__(self, snapshot: Snapshot, roles: Roles) -> None:
        self._roles = roles
        self._columns = [
            Scored(name, roles.at(name).start, *encoding.ends)
            for name in roles.impute
            if isinstance(encoding := roles.encoding(name), Numeric)
            and snapshot.profile(name).missing
        ]
        size = min(SCORED_ROWS, SCORED_CELLS // max(len(roles.dimensions), 1))
        self._sample, self._rows = RowSample(snapshot.rows, size), list[Floats]()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take of the next rows those that are in the sample."""
        if self._columns:
            self._rows.append(self._roles.encode(self._sample.take(batch)))

    def of(self, model: FillingModel, seed: int) -> EnergyIScore | None:
        """Return the energy-I-score of a model's draws, when all rows have passed.

        Parameters
        ----------
        model : FillingModel
        seed : int
            Of the draws.

        Returns
        -------
        EnergyIScore or None
            None if no column of numbers has enough missing cells.
        """
        if not self._columns:
            return None
        X = np.concatenate(self._rows)
        return energy_i_score(X, model.draw(X, seed), self._columns, model)


@one_blas_thread()
def energy_i_score(
    X: Floats, imputed: Floats, columns: Sequence[Scored], model: FillingModel
) -> EnergyIScore | None:
    """Return the energy-I-score of imputed rows (Näf, Grzesiak & Scornet 2025).

    For a column j with missing cells, L_j are the rows that show it and O_j the other columns that
    all of L_j show, or the one that most of them show. Column j is hidden in L_j and imputed again
    from O_j by a Gaussian fitted to the imputed rows outside of L_j: the regression of j on O_j
    there. With the normal H that it has for each row, ::

        S_j = - mean over L_j of CRPS(H, x_j)
        S = sum w_j S_j / sum w_j,    w_j = |L_j| |L_j^c| / n^2

    CRPS is in closed form, the limit of many draws, and in standard deviations of the column's
    observed cells, as if the table had been standardised. 0 is the best score.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        On the model's scale, NaN where missing.
    imputed : ndarray of shape (n_rows, n_columns)
        The same, filled.
    columns : sequence of Scored
    model : FillingModel
        What scores "alone": its normal of a column for all rows.

    Returns
    -------
    EnergyIScore or None
        None if no column can be scored.
    """
    missing: Bools = np.isnan(X)
    varies: Bools = np.ptp(imputed, axis=0) > 0
    # Least squares tell small columns from rounding only where all have one unit.
    standardised = (imputed - imputed.mean(axis=0)) / np.where(varies, imputed.std(axis=0), 1.0)
    scores = [
        _score_column(
            missing[:, column.at],
            imputed[:, column.at],
            standardised[:, predictors],
            column,
            model,
        )
        for column in columns
        if len(predictors := _predictors(missing, varies, column.at))
        and _enough(missing[:, column.at], imputed[:, column.at], len(predictors))
    ]
    if not scores:
        return None
    weights = [one.weight for one in scores]
    score = float(np.average([one.score for one in scores], weights=weights))
    alone = float(np.average([one.alone for one in scores], weights=weights))
    return EnergyIScore(score, alone, tuple(scores))


def _predictors(missing: Bools, varies: Bools, j: int) -> Ints:
    """Columns that vary and that all rows show which show column j, or the one that most do."""
    shown = (~missing[~missing[:, j]]).sum(axis=0) * varies
    shown[j] = 0
    most = shown.max(initial=0)
    if not most:
        return np.empty(0, dtype=np.int64)
    all_rows = np.flatnonzero(shown == np.count_nonzero(~missing[:, j]))
    return all_rows if len(all_rows) else np.array([shown.argmax()])


def _enough(holes: Bools, cells: Floats, predictors: int) -> bool:
    lacking = int(holes.sum())
    return (
        min(lacking, len(holes) - lacking) >= FEWEST_ROWS
        and lacking >= ROWS_A_COEFFICIENT * (predictors + 1)
        and bool(np.ptp(cells[~holes]) > 0)
    )


def _score_column(
    holes: Bools, y: Floats, predictors: Floats, column: Scored, model: FillingModel
) -> EnergyScore:
    design = np.column_stack([np.ones(len(y)), predictors])
    coefficients = np.linalg.lstsq(design[holes], y[holes])[0]
    expected = design @ coefficients
    residual_sd = np.sqrt(np.mean((y - expected)[holes] ** 2))
    cells, bounds = y[~holes], (column.low, column.high)
    n, lacking, unit = len(y), int(holes.sum()), cells.std()
    again = Forecasts(expected[~holes], np.full(n - lacking, residual_sd), *bounds)
    alone = Forecasts(
        np.full(n - lacking, model.mean[column.at]),
        np.full(n - lacking, model.sd[column.at]),
        *bounds,
    )
    score, usual = (-float(forecasts.crps(cells).mean() / unit) for forecasts in (again, alone))
    return EnergyScore(
        column.column,
        n - lacking,
        lacking,
        predictors.shape[1],
        score,
        usual,
        weight=lacking * (n - lacking) / n**2,
    )
