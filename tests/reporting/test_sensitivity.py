"""How means move with a shift of the missing cells, against tables that are filled with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import fit_gaussian
from em_impute.reporting import render, sensitivity
from em_impute.reporting.means import estimate_means
from em_impute.reporting.records import Report, Verdict
from em_impute.reporting.sensitivity import DELTAS, Sensitivity, describe_sensitivity

X = factor_table(200, 4, 0.2, seed=3)
X[:, 3] = np.nan_to_num(X[:, 3])
# Rows that show nothing have their share in the means, too.
X[:5, :3] = np.nan
NAMES = ("x0", "x1", "x2")
FIT = fit_gaussian(X)


def found(with_intervals: bool = True, left_out: int = 0) -> Sensitivity:
    assert FIT.data is not None
    shown = describe_sensitivity(
        FIT.model,
        dict(zip(FIT.model.columns[:3], FIT.model.mean.tolist(), strict=False)),
        dict(zip(NAMES, np.isnan(X).mean(axis=0).tolist(), strict=False)),
        estimate_means(FIT, FIT.data, NAMES) if with_intervals else (),
        left_out,
    )
    assert shown is not None
    return shown


def test_the_grid_is_the_means_of_tables_that_are_filled_with_a_delta() -> None:
    shown = found()
    assert shown.deltas == DELTAS
    assert [row.missing_share for row in shown.rows] == sorted(
        (row.missing_share for row in shown.rows), reverse=True
    )
    for row in shown.rows:
        at = FIT.model.columns.index(row.column)
        filled = [FIT.model.impute(X, delta={row.column: delta})[:, at].mean() for delta in DELTAS]
        # The maximum of the likelihood is found to 1e-6 sd.
        np.testing.assert_allclose(row.means, filled, atol=1e-5)


def test_at_the_tipping_delta_the_mean_is_at_the_end_of_its_interval() -> None:
    known = FIT.estimates().set_index("parameter")
    for row in found().rows:
        at = FIT.model.columns.index(row.column)
        assert row.tipping is not None
        for sign, end in ((-1, "conf_low"), (1, "conf_high")):
            filled = FIT.model.impute(X, delta={row.column: sign * row.tipping})
            expected = known.loc[f"mean of {row.column}", end]
            assert filled[:, at].mean() == pytest.approx(expected, abs=1e-5)


def test_the_means_that_would_leave_first_are_told_in_sentences() -> None:
    first = min(found().rows, key=lambda row: row.tipping or 0)
    assert found().sentences[0] == (
        f"The mean of {first.column} leaves its 95% interval only if its missing cells are on "
        f"average {first.tipping:.2g} sd or more lower, or higher, than predicted."
    )
    assert len(found().sentences) == 3


def test_without_intervals_there_is_the_grid_alone() -> None:
    plain = found(with_intervals=False)
    assert [row.means for row in plain.rows] == [row.means for row in found().rows]
    assert [row.tipping for row in plain.rows] == [None] * 3
    assert plain.sentences == ()


def test_of_many_columns_those_with_the_most_missing_cells_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sensitivity, "MOST_SHIFTED", 2)
    shown = found(left_out=4)
    assert (len(shown.rows), shown.total_columns, shown.left_out) == (2, 3, 4)
    assert describe_sensitivity(FIT.model, {}, {}, (), 4) is None


@pytest.mark.parametrize("page_of", [render.html, render.markdown])
def test_both_pages_have_the_grid(page_of: Callable[[Report], str]) -> None:
    shown = found(left_out=2)
    bare = Report("a", "run", "now", "x.csv", "y.csv", Verdict("published", "It is."), 200, ())
    page = page_of(replace(bare, sensitivity=shown))
    assert shown.sentences[0] in page
    assert "2 columns are left out" in page
    step = shown.rows[0].means[-1] - shown.rows[0].means[-2]
    assert 0.005 < step < 5  # so three decimals show it
    means = shown.rows[0].means
    # The artifact is narrow: it has the ends and the middle of what is a line.
    named = means if page_of is render.html else (means[0], means[len(means) // 2], means[-1])
    assert all(f"{mean:.3f}".replace("-", "\u2212") in page for mean in named)
    assert "sd or more" not in page_of(replace(bare, sensitivity=found(with_intervals=False)))
