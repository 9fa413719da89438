"""Where cells are missing, measured on the snapshot and the summary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian import (
    EMResult,
    PatternSummary,
    little_mcar_test,
)
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.reporting import missingness
from em_impute.reporting.records import (
    Floats,
)
from em_impute.runs.measure_columns import transformed_columns
from em_impute.tables.columns.numbers import Number
from em_impute.tables.columns.roles import Roles, to_matrix
from em_impute.tables.snapshot import Snapshot, read_batches
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
) -> missingness.Patterns | None:
    """Return the most frequent patterns, with the means of their rows as the table has them.

    Parameters
    ----------
    snapshot : Snapshot or None
    roles : Roles or None
    summary : PatternSummary or None
        Without any of these three there are no means.
    counted : missingness.Counted or None
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
        if isinstance(roles.encoding(name), Number) and name not in transformed
    }
    means |= _own_means(snapshot, roles, counted, shown, transformed)
    return missingness.describe_patterns(counted, means=means)


def _own_means(
    snapshot: Snapshot,
    roles: Roles,
    counted: missingness.Counted,
    shown: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, Floats]:
    """Means of columns as the table has them, of the rows of each shown pattern."""
    if not names:
        return {}
    patterns, totals = counted.patterns[shown], np.zeros((len(names), len(shown)))
    at = [roles.model_columns.index(name) for name in counted.columns]
    for batch in read_batches(snapshot.path, roles.model_columns):
        observed = ~roles.missing(batch)[:, at]
        distinct, which = distinct_patterns(np.concatenate([patterns, observed]))
        place = np.full(len(distinct), len(shown))
        place[which[: len(shown)]] = np.arange(len(shown))
        group = place[which[len(shown) :]]
        for j, cells in enumerate(np.nan_to_num(to_matrix(batch, names)).T):
            totals[j] += np.bincount(group, cells, minlength=len(shown) + 1)[:-1]
    return {
        name: np.where(
            patterns[:, counted.columns.index(name)], totals[j] / counted.counts[shown], np.nan
        )
        for j, name in enumerate(names)
    }


def little_test(
    result: EMResult | None, summary: PatternSummary | None
) -> tuple[missingness.CompletelyAtRandom | None, str]:
    """Return Little's test, where there is a maximum, or why it has no answer."""
    if result is None or summary is None or not result.converged or result.prior_rows:
        return None, ""
    if len(summary.counts) > MOST_TESTED:
        return None, f"Little's test is not done with more than {MOST_TESTED:,} patterns."
    try:
        test = little_mcar_test(summary, result.model)
    except ValueError as error:
        return None, str(error)
    if not test.df:
        return None, ""
    return missingness.CompletelyAtRandom(test.statistic, test.df, test.p_value, test.left_out), ""
