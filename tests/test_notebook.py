"""What a notebook shows: the same numbers as elsewhere, on axes and as escaped HTML."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

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
    axes = plot_trace(result)
    accepted = [step for step in result.trace if step.step != "rejected"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [step.loglik for step in accepted])
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [step.number for step in accepted])


def test_the_trace_of_an_imputer_is_that_of_its_fit() -> None:
    imputer = EMImputer().fit(factor_table(60, 3, 0.2, seed=1))
    shown, expected = plot_trace(imputer), plot_trace(imputer.result_)  # type: ignore[arg-type]
    np.testing.assert_array_equal(shown.lines[0].get_ydata(), expected.lines[0].get_ydata())
    with pytest.raises(TypeError, match="Expected the result of a fit, got int"):
        plot_trace(3)  # type: ignore[arg-type]


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


def drawn(axes: np.ndarray) -> list[tuple[str, str, str]]:
    """Title and labels of each of the axes: how many cells were observed, and imputed."""
    labels = [[tick.get_text() for tick in ax.get_yticklabels()] for ax in axes]
    return [(ax.get_title(loc="left"), *label) for ax, label in zip(axes, labels, strict=True)]


def range_of_imputed(ax: Axes) -> tuple[float, float]:
    """Where the bins are in which an imputed cell was counted."""
    below = min(ax.patches, key=lambda stairs: stairs.get_data().values.min())
    counted = np.flatnonzero(below.get_data().values)
    edges = below.get_data().edges
    return edges[counted[0]], edges[counted[-1] + 1]


@pytest.fixture
def filled_pair() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Imputed cells of `a` lie around 1000, far from the observed ones."""
    before = pd.DataFrame(factor_table(60, 2, 0.0, seed=2), columns=["a", "b"])
    before["b"] += 100
    before.loc[::6, "a"] = np.nan
    return before, before.fillna({"a": 1000.0})


@pytest.mark.parametrize(
    "change",
    [
        lambda before, after: (before, after.iloc[::-1]),
        lambda before, after: (
            before.set_index(before.index + 7),
            after.set_index(after.index + 7)[::-1],
        ),
        lambda before, after: (before.iloc[::-1], after.iloc[::-1].reset_index(drop=True)),
        lambda before, after: (before.sample(frac=1, random_state=1), after),
        lambda before, after: (before, after[["b", "a"]]),
        lambda before, after: (before, after.to_numpy()),
        lambda before, after: (before.iloc[::-1], after.to_numpy()[::-1]),
        lambda before, after: (before.to_numpy(), after.to_numpy()),
        lambda before, after: (before.to_numpy(), after),
        lambda before, after: (before.assign(text="t"), after.to_numpy()),
        lambda before, after: (pl.from_pandas(before), after.to_numpy()),
        lambda before, after: (np.ma.masked_invalid(before.to_numpy()), after),
        lambda before, after: (before.astype(object).where(before.notna(), None), after),
        lambda before, after: (before.astype("Float32"), after.astype("float32")),
        lambda before, after: (before, after.assign(missingindicator_a=before["a"].isna())),
    ],
)
def test_rows_and_columns_are_matched(
    filled_pair: tuple[pd.DataFrame, pd.DataFrame], change: Any
) -> None:
    axes = plot_imputed(*change(*filled_pair))
    [(title, observed, imputed)] = drawn(axes)
    assert title in ("a", "x0")
    assert (observed, imputed) == ("50 observed", "10 imputed")
    low, high = range_of_imputed(axes[0])
    assert low <= 1000 <= high
    assert low > 500


def test_rows_in_an_order_that_nothing_tells_are_refused(
    filled_pair: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    before, after = filled_pair
    for other in (after.to_numpy()[::-1], pl.from_pandas(after)[::-1]):
        with pytest.raises(ValueError, match="differs from the other in cells that were observed"):
            plot_imputed(before, other)
    with pytest.raises(ValueError, match="has 1 columns, the other 2"):
        plot_imputed(before, after[["a"]].to_numpy())
    with pytest.raises(ValueError, match="has no numbers in any of 'a'"):
        plot_imputed(before, after[["b"]])


def test_infinite_cells_are_left_out_with_a_warning(
    filled_pair: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    before, after = filled_pair
    after.loc[6, "a"] = np.inf
    with pytest.warns(UserWarning, match="Infinite cells are not drawn: 1 of 'a'"):
        [(_, observed, imputed)] = drawn(plot_imputed(before, after))
    assert (observed, imputed) == ("50 observed", "9 imputed")
    with (
        pytest.warns(UserWarning, match="Infinite"),
        pytest.raises(ValueError, match="None of the columns has a finite cell"),
    ):
        plot_imputed(pd.DataFrame({"a": [np.nan]}), pd.DataFrame({"a": [np.inf]}))


def test_columns_of_any_type_have_missing_cells() -> None:
    for data in (
        np.array([[1, None], ["x", 2]], dtype=object),
        [[1.0, None], [2.0, "x"]],
        np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]]),
        pd.DataFrame([[1.0, None], ["x", 2.0]], columns=["a", "a"]),
        pd.DataFrame({"day": pd.to_datetime(["2024-01-01", None]), "b": [True, False]}),
        pl.DataFrame({"a": [None, None], "b": ["x", "y"]}),
    ):
        [image] = plot_missingness(data).get_images()
        assert 1 <= (image.get_array()[..., 3] == 1.0).sum() <= 2
    with pytest.raises(ValueError, match="got 1 dimension"):
        plot_missingness(np.array([1.0, np.nan]))


def test_booleans_decimals_and_repeated_names_are_drawn() -> None:
    flags = pd.array([True, None, False, True], dtype="boolean")
    decimals = pd.Series([Decimal("1.5"), Decimal(2), None, None], dtype=object)
    before = pd.DataFrame({"a": flags, "b": decimals, "c": [1.0, 2.0, 3.0, np.nan]})
    after = EMImputer(prior_rows=1.0).fit_transform(before)
    assert drawn(plot_imputed(before, after)) == [
        ("a", "3 observed", "1 imputed"),
        ("b", "2 observed", "2 imputed"),
        ("c", "3 observed", "1 imputed"),
    ]
    before.columns = after.columns = pd.Index(["a", "b", "a"])
    assert [title for title, *_ in drawn(plot_imputed(before, after))] == ["a", "b", "a (2)"]
    assert len(plot_imputed(before, after, "b")) == 1


def test_colours_are_told_in_a_legend(filled_pair: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    figure = plot_imputed(*filled_pair)[0].figure
    for legend, words in (
        (figure.legends[0], ["observed", "imputed"]),
        (plot_missingness(filled_pair[0]).get_legend(), ["observed", "missing"]),
    ):
        assert [text.get_text() for text in legend.get_texts()] == words


def test_an_imputer_shows_its_fit_below_its_diagram(table: pd.DataFrame) -> None:
    imputer = EMImputer()
    assert "estimated by EM" not in imputer._repr_mimebundle_()["text/html"]
    imputer.fit(table.drop(columns="text"))
    for page in (imputer._repr_html_(), imputer._repr_mimebundle_()["text/html"]):
        assert "sk-top-container" in page
        assert "estimated by EM" in page
        assert HOSTILE not in page
        assert str(escape(HOSTILE)) in page
