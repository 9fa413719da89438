"""Which columns go missing together, and how they correlate, against pandas."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.reporting import plots, style
from em_impute.reporting.matrices import (
    FEW_COLUMNS,
    MATRIX_COLUMNS,
    Correlations,
    Together,
    describe_correlations,
    describe_together,
)


def holed(p: int, rows: int = 400) -> pd.DataFrame:
    """Columns that go missing in four blocks, which are dealt out in turn, and now and then."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(rows, p)), columns=[f"c{j}" for j in range(p)])
    blocks = rng.random((rows, 4)) < 0.3
    return frame.mask(blocks[:, np.arange(p) % 4] | (rng.random(frame.shape) < 0.05))


def together(frame: pd.DataFrame) -> Together:
    found = describe_together(PatternSummary.from_array(frame.to_numpy(), list(frame)))
    assert found is not None
    return found


@pytest.mark.parametrize("p", [2, 5, 13, 40])
def test_counts_shares_and_correlations_are_those_of_pandas(p: int) -> None:
    frame = holed(p)
    found, missing = together(frame), frame.isna()[list(together(frame).columns)]
    assert set(found.columns) == set(frame)
    both = missing.astype(int).T @ missing.astype(int)
    assert np.array_equal(found.both, both)
    shares = [[missing.loc[missing[a], b].mean() for b in missing] for a in missing]
    assert found.shares() == pytest.approx(np.array(shares))
    assert found.correlations() == pytest.approx(missing.astype(float).corr().to_numpy())


def test_pairs_are_named_from_the_strongest_on() -> None:
    frame = holed(8)
    phi = frame.isna().astype(float).corr()
    strongest = max(abs(phi.loc[a, b]) for a in phi for b in phi if a != b)
    pairs = together(frame).pairs
    assert abs(pairs[0].correlation) == pytest.approx(strongest)
    for pair in pairs:
        a, b = frame[pair.first].isna(), frame[pair.second].isna()
        assert pair.both == (a & b).sum()
        assert pair.share_of_first == pytest.approx(b[a].mean())
        assert pair.share_of_second == pytest.approx(a[b].mean())
        assert pair.correlation == pytest.approx(phi.loc[pair.first, pair.second])


def test_few_columns_stay_in_the_order_of_their_missing_cells() -> None:
    frame = holed(FEW_COLUMNS)
    assert frame.isna().sum()[list(together(frame).columns)].is_monotonic_decreasing


def test_many_columns_stand_next_to_those_they_go_missing_with() -> None:
    blocks = [int(name[1:]) % 4 for name in together(holed(40)).columns]
    assert sum(a != b for a, b in pairwise(blocks)) == 3


def test_of_very_many_columns_those_with_the_most_missing_cells_are_shown() -> None:
    frame = holed(60)
    found = together(frame)
    assert (len(found.columns), found.total_columns) == (MATRIX_COLUMNS, 60)
    shown = frame.isna().sum()[list(found.columns)]
    assert shown.min() >= frame.isna().sum().nlargest(MATRIX_COLUMNS).min()


def test_a_column_that_is_missing_throughout_has_shares_but_no_correlation() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [np.nan] * 3})
    found = together(frame)
    assert found.columns == ("b", "a")
    assert found.shares().tolist() == [[1.0, 1 / 3], [1.0, 1.0]]
    assert found.pairs == ()
    assert plots.together(found).on_page("Together.").count("100%") == 1


@pytest.mark.parametrize("holes", [(), ("a",)])
def test_fewer_than_two_columns_with_holes_are_not_missing_together(holes: tuple[str, ...]) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    frame.loc[0, list(holes)] = np.nan
    assert describe_together(PatternSummary.from_array(frame.to_numpy(), list(frame))) is None


def model(p: int) -> GaussianModel:
    rng = np.random.default_rng(p)
    X = rng.normal(size=(200, 4)) @ rng.normal(size=(4, p)) + rng.normal(size=(200, p))
    names = tuple(f"c{j}" for j in range(p))
    return GaussianModel(X.mean(axis=0), np.cov(X.T, ddof=0).reshape(p, p), names)


@pytest.mark.parametrize("p", [2, 5, 30, 100])
def test_correlations_are_those_of_the_model(p: int) -> None:
    given, missing = model(p), list(range(p))
    found = describe_correlations(given, missing)
    assert found is not None
    at = [given.columns.index(name) for name in found.columns]
    assert found.matrix() == pytest.approx(given.correlation[np.ix_(at, at)])
    assert found.total_columns == p
    assert set(found.columns) == set(given.columns[-MATRIX_COLUMNS:])
    first, second, r = found.strongest[0]
    off = np.abs(given.correlation - np.eye(p))
    assert abs(r) == pytest.approx(off.max())
    i, j = given.columns.index(first), given.columns.index(second)
    assert given.correlation[i, j] == pytest.approx(r)


def test_a_constant_column_has_no_correlations() -> None:
    covariance = np.diag([1.0, 0.0, 2.0])
    found = describe_correlations(GaussianModel(np.zeros(3), covariance, ("a", "b", "c")), [0] * 3)
    assert found is not None
    assert found.columns == ("a", "c")
    alone = GaussianModel(np.zeros(2), np.diag([1.0, 0.0]), ("a", "b"))
    assert describe_correlations(alone, [0, 0]) is None


def test_a_column_of_several_dimensions_has_its_canonical_correlations() -> None:
    given = model(7)
    ends = {"a": (0, 1), "b": (1, 4), "c": (4, 6), "d": (6, 7)}
    found = describe_correlations(given, [0] * 7, {name: slice(*at) for name, at in ends.items()})
    assert found is not None
    assert found.columns == ("a", "b", "c", "d")
    assert found.nominal
    r = given.correlation
    assert found.below[3][0] == pytest.approx(r[6, 0])
    # With one other column it is the multiple correlation, with several the largest root.
    explained = r[0, 1:4] @ np.linalg.solve(r[1:4, 1:4], r[1:4, 0])
    assert found.below[1][0] == pytest.approx(np.sqrt(explained))
    product = np.linalg.solve(r[4:6, 4:6], r[4:6, 1:4]) @ np.linalg.solve(r[1:4, 1:4], r[1:4, 4:6])
    assert found.below[2][1] == pytest.approx(np.sqrt(max(np.linalg.eigvals(product).real)))


def test_dimensions_that_determine_each_other_are_taken_once() -> None:
    covariance = np.array([[1.0, -1.0, 0.6], [-1.0, 1.0, -0.6], [0.6, -0.6, 1.0]])
    given = GaussianModel(np.zeros(3), covariance, ("k=a", "k=b", "x"))
    found = describe_correlations(given, [0] * 3, {"k": slice(0, 2), "x": slice(2, 3)})
    assert found is not None
    assert found.below == ((), (pytest.approx(0.6),))


def test_the_picture_of_correlations_shows_each_pair_once_with_its_number() -> None:
    item = Correlations(("a", "b", "c"), ((), (0.5,), (-0.25, 0.0)), 3, ())
    drawing = plots.correlations(item).on_page("Correlations.")
    texts = re.findall(">([^<>]+)</text>", drawing)
    assert texts == ["0.50", "\u22120.25", "0.00", "b", "c", "a", "b"]
    squares = re.findall('d="([^"]+)" style="fill:(#\\w+);opacity:([0-9.]+)"', drawing)
    assert [(path.count("z"), *look) for path, *look in squares] == [
        (1, style.SHADED, "0.5"),
        (1, style.OPPOSITE, "0.2"),
        (1, style.OPPOSITE, "0"),
    ]


def test_a_large_matrix_has_a_scale_instead_of_numbers() -> None:
    found = describe_correlations(model(30), [0] * 30)
    assert found is not None
    texts = re.findall(">([^<>]+)</text>", plots.correlations(found).on_page("Correlations."))
    assert set(texts) == {*found.columns, "\u22121.00", "0.00", "1.00"}
