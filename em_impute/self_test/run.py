"""A run tests itself: observed cells are hidden, filled, and scored, before anything is published.

Which cells, and what the model makes of them, is in `cells`; the scores are in `scores`, and what
they mean in `judge`, by the `limits`. The score in `energy` hides whole columns instead.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian.families.mixed import mixed_moments
from em_impute.gaussian.filling import FillingModel, FittedModel
from em_impute.job.options import ModelOptions, SelfTestOptions
from em_impute.self_test.cells import (
    Hidden,
    HiddenLevels,
    HiddenNumbers,
    HiddenRows,
    choose_cells,
)
from em_impute.self_test.energy import DrawScores
from em_impute.self_test.judge import judge
from em_impute.self_test.limits import Limits, limits_that_apply
from em_impute.self_test.scores import (
    Forecasts,
    LevelScores,
    NumberScores,
    SelfTest,
    score_levels,
    score_numbers,
)
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.digest import Digest
from em_impute.tables.groups import Fitted, fit_summaries, sum_up_groups
from em_impute.tables.snapshot import OnBatch, Snapshot
from em_impute.tables.summarise import sum_up
from em_impute.tables.whole_rows import Data, fit_data, gathered


def score_hidden_cells(
    snapshot: Snapshot,
    fitted: Fitted,
    options: SelfTestOptions,
    model: ModelOptions,
    hidden: Hidden | None = None,
    on_batch: OnBatch | None = None,
) -> SelfTest | None:
    """Return how well observed cells are filled that were hidden before.

    With ``method: fill`` the fitted models fill them; with ``refit`` models that are fitted again,
    to the table without them. The table is read once, in batches, and before that once more if it
    is not known which cells to hide.

    Parameters
    ----------
    snapshot : Snapshot
    fitted : Fitted
    options : SelfTestOptions
    model : ModelOptions
        How a second fit is made.
    hidden : Hidden, optional
        The cells to hide, chosen in an earlier pass.
    on_batch : callable, optional
        Gets the batches of the table, as `HiddenRows` has it.

    Returns
    -------
    SelfTest or None
        None if the job wants none, or no cell is to be filled.
    """
    roles = fitted.roles
    if not is_tested(snapshot, fitted, options):
        return None
    assert fitted.result is not None
    if hidden is None:
        hidden = choose_cells(snapshot, roles, options)
    visible, draws = _Visible(roles), DrawScores(snapshot, roles)

    def watch(batch: pa.RecordBatch) -> None:
        draws.add(batch)
        if on_batch is not None:
            on_batch(batch)

    rows, doubt = HiddenRows(snapshot, roles, hidden, visible.add, watch), ""
    models = fitted.result.model, fitted.groups
    if options.method == "refit" and len(hidden):
        models, doubt = _refit(rows, fitted, fitted.result, model)
    else:
        rows.gather()
    scores: list[NumberScores | LevelScores] = []
    if len(hidden):
        scores = [_score(cells, visible, options.seed) for cells in rows.predicted(*models)]
    judged = judge(
        "refit" if options.method == "refit" else "fill",
        hidden.observed,
        len(hidden.untested),
        [column for column in scores if isinstance(column, NumberScores)],
        [column for column in scores if isinstance(column, LevelScores)],
        Limits(**limits_that_apply(snapshot, options)),
        doubt,
    )
    # Models of groups impute a column in as many ways; the score is about one.
    if roles.group_by:
        return judged
    return replace(judged, energy=draws.of(fitted.result.model, options.seed))


def is_tested(snapshot: Snapshot, fitted: Fitted, options: SelfTestOptions) -> bool:
    """Whether there is a self-test: the job wants one, and cells are to be filled."""
    missing = any(snapshot.profile(name).missing for name in fitted.roles.impute)
    return options.method != "off" and fitted.result is not None and missing


def _refit(
    rows: HiddenRows, fitted: Fitted, result: FittedModel, model: ModelOptions
) -> tuple[tuple[FillingModel, dict[str, FillingModel]], str]:
    """Models of the table without the hidden cells, and a sentence if that fit did not end well."""
    models: dict[str, FillingModel] = {}
    roles, n = fitted.roles, rows.snapshot.rows
    data: Data
    if fitted.gathered:
        data = fitted.gathered.with_rows(X for _, X in rows.gather_hiding())
    elif roles.group_by:
        groups = sum_up_groups(rows.gather_hiding(), n, roles, model)
        models, _, _ = fit_summaries(groups, roles, model)
        data = reduce(add, groups.values())
    elif model.is_of_rows:
        data = gathered(rows.gather_hiding(), n, roles)
    else:
        data = sum_up((X for _, X in rows.gather_hiding()), roles.dimensions)
    again = fit_data(data, model, near=result)
    doubt = (
        "" if again.converged else f"The self-test's fit without the test cells: {again.message}"
    )
    return (again.model, models), doubt


class _Visible:
    """What the cells that are not hidden are like: what the model has to be better than."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.numbers: defaultdict[str, Digest] = defaultdict(Digest)
        self.levels: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, name: str, cells: NDArray[np.float64]) -> None:
        """Take in more cells of a column: numbers, or the codes of levels."""
        if isinstance(self._roles.encoding(name), Numeric):
            self.numbers[name].add(cells)
            return
        codes, counts = np.unique(cells.astype(np.int64), return_counts=True)
        self.levels[name].update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))


def _score(
    cells: HiddenNumbers | HiddenLevels, visible: _Visible, seed: int
) -> NumberScores | LevelScores:
    if isinstance(cells, HiddenLevels):
        ((mode, _),) = visible.levels[cells.column].most_common(1)
        return score_levels(cells.column, cells.truth, cells.filled, mode)
    usual = visible.numbers[cells.column]
    return score_numbers(
        cells.column,
        cells.truth,
        cells.filled,
        mean=usual.mean,
        median=float(np.median(usual.kept)),
        on_scale=cells.on_scale,
        published_as=(cells.below, cells.above),
        forecasts=Forecasts(cells.mean, cells.sd, cells.low, cells.high, cells.parts),
        usual=_usual(cells),
        transform=cells.transform,
        seed=seed,
    )


def _usual(cells: HiddenNumbers) -> Forecasts:
    """What the model says of a cell of whose row it knows nothing."""
    n = len(cells.truth)
    parts = [(np.full(n, w), np.full(n, m), np.full(n, s)) for w, m, s in cells.usual]
    mean, sd = mixed_moments(parts)
    return Forecasts(mean, sd, cells.low, cells.high, tuple(parts) if len(parts) > 1 else ())
