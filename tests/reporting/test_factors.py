"""A factor model in the report: what its factors explain, its columns, its pictures."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from em_impute.gaussian.families import FactorFit, Options, fit_factor
from em_impute.reporting import plots, render
from em_impute.reporting.factors import MOST_COLUMNS, MOST_FACTORS, describe_factors
from em_impute.reporting.records import Report, Verdict


def fitted(p: int = 8, k: int = 2, name: str = "x") -> FactorFit:
    """Columns each of which goes with one factor."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, k))
    X = np.repeat(scores, -(-p // k), axis=1)[:, :p] * np.linspace(0.5, 2, p)
    X += rng.normal(size=(300, p))
    X[rng.random(X.shape) < 0.1] = np.nan
    columns = [f"{name}{j}" for j in range(p)]
    return fit_factor(X, columns, k, rotation="varimax", options=Options(1e-6, 500))


def test_loadings_are_correlations_of_columns_with_factors() -> None:
    fit = fitted()
    model = fit.model
    found = describe_factors(fit, "varimax")
    of = {one.column: one for one in found.loads}
    assert len(of) == found.total_columns == 8
    correlations = model.loadings / model.sd[:, None]
    for j, name in enumerate(model.columns):
        np.testing.assert_allclose(of[name].correlations, correlations[j])
        assert of[name].explained == pytest.approx(1 - model.noise[j] / model.sd[j] ** 2)
        assert not of[name].held
    assert sum(found.explained) == pytest.approx(np.mean([one.explained for one in found.loads]))
    assert list(found.explained) == sorted(found.explained, reverse=True)
    assert (found.noise, found.rotation, found.rows, found.bics) == ("diagonal", "varimax", 300, ())


def test_columns_stand_with_the_factor_that_they_go_with_most() -> None:
    found = describe_factors(fitted(), None)
    own = np.abs(found.matrix).argmax(axis=1)
    assert own.tolist() == [0] * 4 + [1] * 4
    strength = np.abs(found.matrix).max(axis=1)
    assert (np.diff(strength[:4]) <= 0).all()
    assert {one.column for one in found.loads[:4]} == {"x4", "x5", "x6", "x7"}


def test_of_many_columns_and_factors_the_largest_are_shown() -> None:
    found = describe_factors(fitted(p=60, k=12), "varimax")
    assert len(found.explained) == 12
    assert found.shown == MOST_FACTORS
    assert found.matrix.shape == (MOST_COLUMNS, MOST_FACTORS)
    # Every factor that is shown has columns of its own.
    assert set(np.abs(found.matrix).argmax(axis=1)) == set(range(MOST_FACTORS))


def test_the_picture_has_factors_by_columns() -> None:
    drawing = plots.loadings(describe_factors(fitted(), None)).on_page("Loadings.")
    texts = re.findall(">([^<>]+)</text>", drawing)
    assert [text for text in texts if "factor" in text] == ["factor 1", "factor 2"]
    assert sum(text[-3] == "." for text in texts if len(text) > 2) == 2 * 8


@pytest.mark.parametrize("k", [1, 2])
def test_both_pages_show_the_factors(k: int) -> None:
    """A hostile name of a column is text on both."""
    found = describe_factors(fitted(k=k, name="<b>*"), "varimax")
    found = replace(found, bics=((1, 12.0), (2, 11.0)))
    report = Report(
        "job", "run", "2026-11-28", "in", "out", Verdict("published", "It was."), 300, (),
        factors=found,
    )  # fmt: skip
    report = Report.from_dict(report.to_dict())
    page, text = render.html(report), render.markdown(report)
    assert f"{k} factor{'s explain' if k > 1 else ' explains'}" in page
    assert ("varimax" in page) == (k > 1)
    assert "Which columns go with which factor" in page
    assert "How many factors" in page
    assert "<b>*" not in page
    assert "## The factors" in text
    assert "\n| All columns |" in text
    assert not report.failures
