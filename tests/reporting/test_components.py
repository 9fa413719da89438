"""A mixture's components in the report: profiles, the plane that parts them, its pictures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families import (
    Components,
    MixtureFit,
    MixtureModel,
    Options,
    Scaling,
    fit_mixture,
)
from em_impute.reporting import component_plots, render
from em_impute.reporting.components import (
    BINS,
    describe_components,
    describe_directions,
    separating_plane,
)
from em_impute.reporting.components import Components as Described
from em_impute.reporting.records import Report, Verdict

COLUMNS = ("apart", "spread", "equal")


def mixture(*means: tuple[float, float, float]) -> MixtureModel:
    """Components of equal weight that lie apart in some columns."""
    k = len(means)
    components = Components(
        "full", np.full(k, 1 / k), np.array(means), np.tile(np.diag([1.0, 4.0, 1.0]), (k, 1, 1))
    )
    return MixtureModel(components, Scaling(np.zeros(3), np.ones(3)), COLUMNS)


def as_it_is(_: str, means: Floats, sds: Floats) -> tuple[Floats, Floats]:
    return means, sds


def fitted(seed: int = 0) -> MixtureFit:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 3))
    X[:60, 0] += 8
    options = Options(1e-6, 500)
    return fit_mixture(X, COLUMNS, "bic", options=options, rng=rng)


def test_columns_that_tell_components_apart_come_first() -> None:
    fit = fitted()
    found = describe_components(fit, as_it_is, None)
    assert found.weights == pytest.approx((0.7, 0.3), abs=1e-3)
    assert found.rows == 200
    first = found.profiles[0]
    assert first.column == "apart"
    means, variances = np.array(first.means), np.array(first.sds) ** 2
    w = np.array(found.weights)
    between = w @ (means - w @ means) ** 2
    assert first.between == pytest.approx(between / (between + w @ variances))
    assert first.between > 0.9 > 0.1 > found.profiles[1].between
    assert dict(found.bics) == dict(fit.bics)


def test_the_first_axis_parts_two_components_and_the_second_is_uncorrelated_within() -> None:
    plane = separating_plane(mixture((0, 0, 0), (6, 0, 0)))
    assert plane is not None
    np.testing.assert_allclose(plane.axes[1:, 0], 0.0, atol=1e-8)
    assert plane.axes[0, 0] > 0
    assert plane.names[0].startswith("apart (+1.00)")
    # Within components the scores have variance 1 and go their own ways.
    within = np.diag([1.0, 4.0, 1.0])
    np.testing.assert_allclose(plane.axes.T @ within @ plane.axes, np.eye(2), atol=1e-6)


def test_three_components_span_a_plane() -> None:
    plane = separating_plane(mixture((0, 0, 0), (9, 0, 0), (0, 0, 5)))
    assert plane is not None
    scores = (mixture((0, 0, 0), (9, 0, 0), (0, 0, 5)).means - plane.mean) @ plane.axes
    apart = [np.linalg.norm(scores[g] - scores[h]) for g, h in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(apart, [9.0, 5.0, np.sqrt(81 + 25)], rtol=1e-6)


def test_one_component_or_one_column_has_no_plane() -> None:
    assert separating_plane(mixture((0, 0, 0))) is None
    one = Components("full", np.array([0.5, 0.5]), np.array([[0.0], [5.0]]), np.ones((2, 1, 1)))
    scaling = Scaling(np.zeros(1), np.ones(1))
    assert separating_plane(MixtureModel(one, scaling, ("x",))) is None


def test_the_picture_has_the_rows_and_the_ellipses() -> None:
    model, rng = mixture((0, 0, 0), (6, 0, 0)), np.random.default_rng(3)
    rows = rng.normal(size=(500, 3)) * [1, 2, 1]
    rows[:250, 0] += 6
    plane = separating_plane(model)
    assert plane is not None
    item = describe_directions(model, plane, rows)
    counts = np.array(item.counts)
    assert counts.shape == (BINS, BINS)
    assert 480 <= counts.sum() <= 500
    # Two heaps along the first axis, hardly anything between them.
    across = counts.sum(axis=0)
    assert across[BINS // 2 - 1 : BINS // 2 + 1].sum() < 0.02 * 500
    np.testing.assert_allclose(item.covariances, [(1, 0, 1)] * 2, atol=1e-6)
    edge = component_plots.ellipse(item.centres[0], item.covariances[0])
    distances = np.sum((edge - np.array(item.centres[0])[:, None]) ** 2, axis=0)
    np.testing.assert_allclose(1 - np.exp(-distances / 2), component_plots.INSIDE, rtol=1e-5)
    drawing = component_plots.directions(item).on_page("Directions.")
    assert re.findall('bold">([^<>]+)</text>', drawing) == ["0", "1"]
    assert f">{item.names[0]}</text>" in drawing


def test_the_chosen_number_is_marked() -> None:
    points = ((1, 50.0), (2, 40.0), (3, 45.0))
    drawing = component_plots.bics(points, 2, "components").on_page("BIC.")
    ink, blue = re.findall('<path d="([^"]*a[^"]*)" style="fill', drawing)
    centres = [re.findall(r"M\S+ (\S+)a", dots) for dots in (ink, blue)]
    assert centres[1] == [centres[0][1]] == [max(centres[0], key=float)]


@pytest.mark.parametrize("k", [1, 2])
def test_both_pages_show_the_components(k: int) -> None:
    """A hostile name of a column is text on both."""
    model = mixture(*[(6.0 * g, 0.0, 0.0) for g in range(k)])
    plane = separating_plane(model)
    described = Described(
        "tied",
        tuple(model.weights.tolist()),
        200,
        describe_components(fitted(), as_it_is, None).profiles[:0],
        3,
        ((1, 12.0), (2, 11.0)),
        describe_directions(model, plane, np.zeros((9, 3))) if plane else None,
    )
    report = Report(
        "job", "run", "2026-11-28", "in", "out", Verdict("published", "It was."), 200, (),
        components=described,
    )  # fmt: skip
    report = Report.from_dict(report.to_dict())
    page, text = render.html(report), render.markdown(report)
    assert f"The mixture has {k} component{'s' if k > 1 else ''}" in page
    assert ("They have one covariance" in page) == (k > 1)
    assert ("Where the components lie" in page) == (k > 1)
    assert "How many components" in page
    assert "## The components" in text
    assert not report.failures
