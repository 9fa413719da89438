"""What a notebook shows: the same numbers as elsewhere, on axes and as escaped HTML."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from holed_tables import factor_table
from markupsafe import escape
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from em_impute import EMImputer, fit_gaussian, plot_imputed, plot_missingness, plot_trace

matplotlib.use("Agg")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def _close_figures() -> object:
    yield
    plt.close("all")


@pytest.fixture
def table() -> pd.DataFrame:
    frame = pd.DataFrame(factor_table(120, 4, 0.2, seed=3), columns=["a", "b", "c", HOSTILE])
    frame["text"] = "t"
    frame.loc[5, "text"] = None
    return frame


def test_the_trace_is_the_log_likelihood_of_accepted_steps() -> None:
    result = fit_gaussian(factor_table(200, 5, 0.5, seed=1))
    axes = result.plot_trace()
    accepted = [step for step in result.trace if step.step != "rejected"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [step.loglik for step in accepted])
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [step.number for step in accepted])


def test_axes_that_are_given_are_drawn_on(table: pd.DataFrame) -> None:
    result = fit_gaussian(factor_table(60, 3, 0.2, seed=1))
    for draw, subject in ((plot_trace, result), (plot_missingness, table)):
        _, axes = plt.subplots()
        assert draw(subject, ax=axes) is axes


def test_the_map_shows_each_row_once(table: pd.DataFrame) -> None:
    axes = plot_missingness(table)
    [image] = axes.get_images()
    shown = image.get_array()
    assert shown.shape[:2] == (len(table), 5)
    missing = (shown[..., 3] == 1.0).sum(axis=0)
    assert sorted(missing.tolist()) == sorted(table.isna().sum().tolist())


def test_nothing_missing_is_said(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="No cell is missing"):
        plot_missingness(table.fillna(0.0).fillna("x"))


@pytest.mark.parametrize("kind", ["pandas", "polars", "array", "nullable"])
def test_imputed_cells_stand_below_the_observed_ones(table: pd.DataFrame, kind: str) -> None:
    numbers = table.drop(columns="text")
    filled = EMImputer().fit_transform(numbers)
    made = {
        "pandas": (table, filled),
        "polars": (pl.from_pandas(numbers), pl.from_pandas(filled)),
        "array": (numbers.to_numpy(), filled.to_numpy()),
        "nullable": (numbers.convert_dtypes(), filled),
    }
    axes = plot_imputed(*made[kind])
    assert axes.shape == (4,)
    for ax, name in zip(axes, numbers.columns, strict=True):
        assert isinstance(ax, Axes)
        observed, imputed = (tick.get_text() for tick in ax.get_yticklabels())
        assert observed == f"{numbers[name].notna().sum()} observed"
        assert imputed == f"{numbers[name].isna().sum()} imputed"


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [(["nope"], "no columns of numbers: nope"), (["text"], "no columns of numbers: text")],
)
def test_what_cannot_be_drawn_is_said(
    table: pd.DataFrame, columns: list[str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        plot_imputed(table, table, columns)


def test_tables_of_different_rows_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="must have the same rows"):
        plot_imputed(table, table.iloc[:-1])
    with pytest.raises(ValueError, match="No column of numbers has missing cells"):
        plot_imputed(table.fillna(0.0), table.fillna(0.0))


def test_a_result_is_a_page_with_escaped_names(table: pd.DataFrame) -> None:
    imputer = EMImputer().fit(table.drop(columns="text"))
    page = imputer.result_._repr_html_()
    assert HOSTILE not in page
    assert str(escape(HOSTILE)) in page
    assert f"{imputer.loglik_:,.6f}" in page
    assert "converged" in page
    for mean in imputer.mean_:
        assert f"{mean:.6g}" in page


def test_many_columns_are_counted_not_listed() -> None:
    page = fit_gaussian(factor_table(400, 40, 0.05, seed=2))._repr_html_()
    assert "and 10 more columns" in page
    assert page.count("<tr>") == 8 + 1 + 30


def test_an_imputer_shows_its_fit_below_its_diagram(table: pd.DataFrame) -> None:
    imputer = EMImputer()
    assert "estimated by EM" not in imputer._repr_mimebundle_()["text/html"]
    imputer.fit(table.drop(columns="text"))
    for page in (imputer._repr_html_(), imputer._repr_mimebundle_()["text/html"]):
        assert "sk-top-container" in page
        assert "estimated by EM" in page
