"""Where cells are missing, measured on the snapshot and the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from em_impute.gaussian import (
    EMResult,
    GaussianModel,
    PatternSummary,
    aleksic_mcar_test,
    little_mcar_test,
)
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.reporting import missingness
from em_impute.runs.measure_cells import transformed_columns
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles, to_matrix
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.summarise import count_patterns

# Little's test handles patterns one by one; with more of them than this, few rows have each.
MOST_TESTED = 2_000


def count_missing(
    snapshot: Snapshot | None, roles: Roles | None, summary: PatternSummary | None
) -> missingness.Counted | None:
    """Return the patterns of the model's columns, as the table has these; None without any holes.

    Parameters
    ----------
    snapshot : Snapshot or None
    roles : Roles or None
    summary : PatternSummary or None
        Without it, the table is read and its patterns are counted.
    """
    if snapshot is None or roles is None or not roles.model_columns:
        return None
    if summary is None:
        if not any(snapshot.profile(name).missing for name in roles.model_columns):
            return None
        return missingness.PatternCounts(roles.model_columns, *count_patterns(snapshot, roles))
    # A nominal column is missing in all of its dimensions; one of a single level has none.
    columns = tuple(name for name in roles.model_columns if roles.encoding(name).dimensions)
    at = [roles.at(name).start for name in columns]
    patterns = summary.patterns if columns == summary.columns else summary.patterns[:, at]
    return missingness.PatternCounts(columns, patterns, summary.counts)


def measure_patterns(
    snapshot: Snapshot | None,
    roles: Roles | None,
    summary: PatternSummary | None,
    counted: missingness.Counted | None,
    own_means: Callable[[], Mapping[str, Floats]],
) -> missingness.Patterns | None:
    """Return the most frequent patterns, with the means of their rows as the table has them.

    Parameters
    ----------
    snapshot : Snapshot or None
    roles : Roles or None
    summary : PatternSummary or None
        Without any of these three there are no means.
    counted : missingness.Counted or None
    own_means : callable
        Returns the means of transformed columns, as `OwnMeans` has found them.
    """
    if counted is None:
        return None
    if snapshot is None or roles is None or summary is None:
        return missingness.describe_patterns(counted)
    shown = missingness.most_frequent(counted)
    on_models_scale = summary.means_of(shown)
    transformed = transformed_columns(roles)
    means = {
        name: on_models_scale[:, roles.at(name).start]
        for name in counted.columns
        if isinstance(roles.encoding(name), Numeric) and name not in transformed
    }
    means |= own_means() if transformed else {}
    return missingness.describe_patterns(counted, means=means)


class OwnMeans:
    """Finds the means of transformed columns as the table has them, in the rows of each pattern.

    Parameters
    ----------
    roles : Roles
    count : callable
        Returns the patterns, of which the most frequent are shown; None if there are none. Called
        where there are such columns.
    """

    def __init__(self, roles: Roles, count: Callable[[], missingness.Counted | None]) -> None:
        names = transformed_columns(roles)
        counted = count() if names else None
        self._names = names if counted else []
        if counted is None:
            return
        self._roles, self._columns = roles, counted.columns
        self._patterns = counted.patterns[missingness.most_frequent(counted)]
        self._totals = np.zeros((len(self._names), len(self._patterns)))
        self._rows = np.zeros(len(self._patterns))
        self._at = [roles.model_columns.index(name) for name in counted.columns]

    @property
    def watched(self) -> Sequence[str]:
        """The columns that it looks at; none without transformed ones."""
        return self._roles.model_columns if self._names else ()

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        if not self._names:
            return
        observed = ~self._roles.missing(batch)[:, self._at]
        shown = len(self._patterns)
        distinct, which = distinct_patterns(np.concatenate([self._patterns, observed]))
        place = np.full(len(distinct), shown)
        place[which[:shown]] = np.arange(shown)
        group = place[which[shown:]]
        self._rows += np.bincount(group, minlength=shown + 1)[:-1]
        for j, cells in enumerate(np.nan_to_num(to_matrix(batch, self._names)).T):
            self._totals[j] += np.bincount(group, cells, minlength=shown + 1)[:-1]

    @property
    def found(self) -> dict[str, Floats]:
        """The means of each column, NaN where a pattern lacks it."""
        if not self._names:
            return {}
        # A sample may have no row of a pattern.
        seen = self._patterns & (self._rows > 0)[:, None]
        return {
            name: np.where(
                seen[:, self._columns.index(name)], total / np.maximum(self._rows, 1), np.nan
            )
            for name, total in zip(self._names, self._totals, strict=True)
        }


def mcar_tests(
    result: EMResult | None, summary: PatternSummary | None
) -> tuple[missingness.McarTest, ...]:
    """Return the tests of cells missing completely at random; none where no cell is missing."""
    if summary is None or summary.patterns.all():
        return ()
    made = [_aleksic(summary)]
    if result is not None and result.converged and not result.prior_rows:
        made.insert(0, _little(summary, result.model))
    return tuple(test for test in made if test.df or test.why_not)


def _little(summary: PatternSummary, model: GaussianModel) -> missingness.McarTest:
    if len(summary.counts) > MOST_TESTED:
        why_not = f"Little's test is not done with more than {MOST_TESTED:,} patterns."
        return missingness.McarTest("Little", why_not=why_not)
    try:
        test = little_mcar_test(summary, model)
    except ValueError as error:
        return missingness.McarTest("Little", why_not=str(error))
    return missingness.McarTest(
        "Little", test.statistic, test.df, test.p_value, test.left_out, test.by_column
    )


def _aleksic(summary: PatternSummary) -> missingness.McarTest:
    try:
        test = aleksic_mcar_test(summary)
    except ValueError as error:
        return missingness.McarTest("Aleksić", why_not=str(error))
    return missingness.McarTest(
        "Aleksić",
        test.statistic,
        test.df,
        test.p_value,
        by_column=test.by_column,
        by_missing=test.by_missing,
    )
