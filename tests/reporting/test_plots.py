"""What the pictures show and that they can stand on any page; how they look is judged by eye."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from em_impute.reporting import plots, render, style
from em_impute.reporting.missingness import Pattern, Patterns
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Distribution, Evaluation, Fit, Report
from em_impute.reporting.svg import as_png, as_svg


def made_fit(*evaluations: Evaluation, prior_rows: float = 0.0) -> Fit:
    rejected = sum(e.step == "rejected" for e in evaluations)
    return Fit(
        "converged", "Done.", len(evaluations), rejected, -1.0, 1e-7, 1e-6, prior_rows, evaluations
    )


def evaluation(number: int, objective: float | None, step: str = "em") -> Evaluation:
    return Evaluation(number, objective, objective, 10.0**-number, step)


def made_patterns(*names: str) -> Patterns:
    rows = (Pattern((True,) * len(names), 7), Pattern((False,) * len(names), 3))
    return Patterns(names, rows, len(names), 2, 10)


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if is_text(e)]


def is_text(element: ElementTree.Element) -> bool:
    return element.tag.endswith("}text")


def test_svg_has_ids_of_its_own_and_refers_to_no_other(report: Report) -> None:
    assert report.fit
    root = ElementTree.fromstring(as_svg(plots.trace(report.fit), "trace", "A trace."))
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(one.startswith("trace-") for one in ids)
    used = [e.attrib["href"].removeprefix("#") for e in root.iter() if "href" in e.attrib]
    assert used
    assert set(used) <= set(ids)


def test_svg_is_the_same_every_time(report: Report) -> None:
    assert report.patterns
    first, second = (as_svg(plots.patterns(report.patterns), "p", "P.") for _ in range(2))
    assert first == second


def test_svg_takes_its_colours_and_size_from_the_page(report: Report) -> None:
    svg = as_svg(plots.distribution(report.distributions[0]), "d", "A & B.")
    root = ElementTree.fromstring(svg)
    assert "currentColor" in svg
    assert "var(--imputed" in svg
    assert style.INK not in svg
    assert style.PAPER not in svg
    assert not {"width", "height"} & root.attrib.keys()
    assert root.attrib["aria-label"] == "A & B."


def test_png_is_opaque_and_light(report: Report) -> None:
    assert report.fit
    picture = Image.open(io.BytesIO(as_png(plots.trace(report.fit))))
    assert "transparency" not in picture.info
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_page_and_the_artifact_share_their_figures(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is drawn once, and both look as if they had drawn it for themselves."""
    apart = render.html(report), render.markdown(report)
    drawn: list[Fit] = []

    def trace(fit: Fit, draw: Callable[[Fit], Figure] = plots.trace) -> Figure:
        drawn.append(fit)
        return draw(fit)

    monkeypatch.setattr(plots, "trace", trace)
    parts = Parts()
    together = render.html(report, parts), render.markdown(report, parts=parts)
    assert drawn == [report.fit]
    assert together[0] == apart[0]
    assert render.html(report, parts) == apart[0]
    for ours, own in zip(*map(pictures_in, (together[1], apart[1])), strict=True):
        assert ours.size == own.size
        # Letters are measured a little otherwise for SVG.
        assert np.abs(np.asarray(ours, float) - np.asarray(own, float)).mean() < 8


def pictures_in(markdown: str) -> list[Image.Image]:
    encoded = re.findall("base64,([A-Za-z0-9+/=]+)", markdown)
    return [Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB") for one in encoded]


def test_bar_has_its_colour_all_over() -> None:
    picture = Image.open(io.BytesIO(as_png(plots.bar("#d55e00")))).convert("RGB")
    assert {picture.getpixel(at) for at in [(0, 0), (300, 4), (600, 8)]} == {(0xD5, 0x5E, 0x00)}


def test_drawing_leaves_the_callers_matplotlib_alone(report: Report) -> None:
    before = dict(matplotlib.rcParams)
    as_png(plots.distributions(report.distributions))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("Solar.R", "Solar.R"),
        ("$\\alpha$", "$\\alpha$"),
        ("</svg><b>", "</svg><b>"),
        ("two\nlines\there", "two lines here"),
        ("データ", "□□□"),
        ("\x00\x1b\u202eabc", "□□□abc"),
        ("x" * 100 + "_end_1", "xxxxxxxxxxxxxxx…_end_1"),
        ("", ""),
    ],
)
def test_any_name_is_drawn_as_text_without_a_warning(name: str, drawn: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = as_svg(plots.patterns(made_patterns(name, "other")), "p", "P.")
    assert drawn in [*texts(svg), ""]


def test_trace_follows_the_accepted_steps_and_marks_the_others() -> None:
    """A rejected step far below, or without a likelihood, does not flatten the accepted ones."""
    steps = [(0, -50.0, "start"), (1, -20.0, "em"), (2, -1e9, "rejected"), (4, -10.0, "em")]
    fit = made_fit(*(evaluation(*step) for step in steps), evaluation(3, None, "rejected"))
    upper, lower = plots.trace(fit).axes
    line, crosses = upper.lines
    assert line.get_xydata().tolist() == [[0, -50], [1, -20], [4, -10]]
    assert crosses.get_xydata().tolist() == [[2, -50], [3, -50]]
    assert upper.get_ylim()[0] > -100
    assert "2 rejected" in [text.get_text() for text in upper.texts]
    assert lower.lines[0].get_ydata() == pytest.approx([1.0, 0.1, 1e-4])


def test_trace_says_when_a_prior_penalises_the_likelihood() -> None:
    titles = [
        plots.trace(made_fit(evaluation(0, -1.0), prior_rows=prior)).axes[0].get_title(loc="left")
        for prior in (0.0, 2.0)
    ]
    assert titles == ["log-likelihood", "penalised log-likelihood"]


@pytest.mark.parametrize(
    "evaluations",
    [
        (),
        (evaluation(0, -5.0, "start"),),
        (evaluation(0, None, "rejected"),),
        (Evaluation(0, -5.0, -5.0, None, "start"), Evaluation(1, -5.0, -5.0, 0.0, "em")),
    ],
)
def test_trace_of_hardly_anything_is_drawn_without_a_warning(
    evaluations: tuple[Evaluation, ...],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_svg(plots.trace(made_fit(*evaluations)), "t", "T.")
        as_svg(plots.trace(dataclasses.replace(made_fit(*evaluations), tol=None)), "t", "T.")


def test_patterns_have_a_bar_for_their_rows_and_a_box_for_each_cell() -> None:
    matrix, bars = plots.patterns(made_patterns("a", "b", "c")).axes
    assert [patch.get_width() for patch in bars.patches] == [7, 3]
    assert [text.get_text() for text in bars.texts] == ["7  (70.0%)", "3  (30.0%)"]
    boxes = [len(collection.get_paths()) for collection in matrix.collections]
    assert boxes == [3, 3]
    observed, missing = (
        [path.get_extents().extents.tolist() for path in collection.get_paths()]
        for collection in matrix.collections
    )
    assert observed[1] == pytest.approx([0.55, -0.4, 1.45, 0.4])
    assert missing[0] == pytest.approx([-0.45, 0.6, 0.45, 1.4])


def test_halves_of_a_distribution_are_its_densities_to_their_own_peaks() -> None:
    item = Distribution("x", (0.0, 1.0, 2.0, 3.0), (2, 8, 4), (0, 1, 0))
    upper, lower = plots.distribution(item).axes[0].patches
    assert np.allclose(upper.get_data().values, [0.25, 1.0, 0.5])
    assert np.allclose(lower.get_data().values, [0.0, -1.0, 0.0])


def test_distribution_without_imputed_cells_has_an_empty_half() -> None:
    item = Distribution("x", (0.0, 1.0, 2.0), (2, 8), (0, 0))
    _, lower = plots.distribution(item).axes[0].patches
    assert np.all(lower.get_data().values == 0)


def test_sheet_of_distributions_has_a_titled_panel_for_each() -> None:
    items = [Distribution(f"c{i}", (0.0, 1.0), (1,), (1,)) for i in range(5)]
    panels = [axes for axes in plots.distributions(items).axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["c0", "c1", "c2", "c3", "c4"]
