"""What the pictures show and that they can stand on any page; how they look is judged by eye."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from em_impute.reporting import plots, style
from em_impute.reporting.axes import Scale, logarithmic_ticks, powers_of_ten, ticks
from em_impute.reporting.missingness import Pattern, Patterns
from em_impute.reporting.records import Distribution, Evaluation, Fit, Report
from em_impute.reporting.svg import Drawing


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


def test_a_drawing_has_no_ids_and_refers_to_none(report: Report) -> None:
    """So that any number of them can stand in a page."""
    assert report.fit
    root = ElementTree.fromstring(plots.trace(report.fit).on_page("A trace."))
    assert not {"id", "href", "clip-path"} & {key for e in root.iter() for key in e.attrib}


def test_a_drawing_takes_its_colours_and_size_from_the_page(report: Report) -> None:
    svg = plots.distribution(report.distributions[0]).on_page("A & B.")
    root = ElementTree.fromstring(svg)
    assert "currentColor" in svg
    assert "var(--imputed" in svg
    assert style.INK not in svg
    assert style.PAPER not in svg
    assert not {"width", "height"} & root.attrib.keys()
    assert root.attrib["aria-label"] == "A & B."


def test_an_image_has_ink_and_ground_of_its_own(report: Report) -> None:
    assert report.fit
    svg = inside(plots.trace(report.fit).as_image("A & B."))
    root = ElementTree.fromstring(svg)
    assert f"color:{style.INK}" in root.attrib["style"]
    assert root[0].attrib["fill"] == style.PAPER
    assert root.attrib["aria-label"] == "A & B."
    assert inside(plots.bar("#d55e00").as_image("Bar.")).count("<path") == 1


def inside(address: str) -> str:
    kind, _, data = address.partition(";base64,")
    assert kind == "data:image/svg+xml"
    return base64.b64decode(data).decode()


def test_cells_are_a_picture_that_other_programs_read() -> None:
    drawing = Drawing(30.0, 20.0)
    colours = np.random.default_rng(0).random((5, 7, 4))
    drawing.cells(drawing.whole, colours)
    [image] = ElementTree.fromstring(drawing.on_page("Cells."))
    data = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.round(255 * colours))


@pytest.mark.parametrize(
    ("low", "high", "most", "whole", "shown"),
    [
        (0.0, 1.0, 4, False, ["0", "0.25", "0.5", "0.75", "1"]),
        (-0.31, 0.29, 6, False, ["\u22120.3", "\u22120.2", "\u22120.1", "0", "0.1", "0.2"]),
        (0.2, 3.4, 6, True, ["1", "2", "3"]),
        (0.0, 60.0, 4, True, ["0", "20", "40", "60"]),
        (1e9, 3e9, 3, False, ["1 \u00d7 10\u2079", "2 \u00d7 10\u2079", "3 \u00d7 10\u2079"]),
        (7.0, 7.0, 4, False, ["7"]),
        (0.0, 5e-324, 4, False, ["0"]),
        (
            -1.7e308,
            1.7e308,
            4,
            False,
            ["\u22121 \u00d7 10\u00b3\u2070\u2078", "0", "1 \u00d7 10\u00b3\u2070\u2078"],
        ),
        (1e9, 1e9 + 1e-6, 4, False, ["1 \u00d7 10\u2079"]),
    ],
)
def test_numbers_at_an_axis_are_round(
    low: float, high: float, most: int, whole: bool, shown: list[str]
) -> None:
    assert [text for _, text in ticks(Scale(low, high), most, whole)] == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0.05, 20.0, ["0.1", "0.3", "1", "3", "10"]), (2.0, 9.0, ["2", "4", "6", "8"])],
)
def test_a_logarithmic_axis_has_some_numbers(low: float, high: float, shown: list[str]) -> None:
    assert [text for _, text in logarithmic_ticks(Scale(low, high, log=True))] == shown


def test_powers_of_ten_are_few_on_a_long_axis() -> None:
    long = [value for value, _ in powers_of_ten(Scale(1e-300, 1e300, log=True))]
    assert 4 <= len(long) <= 6
    assert long == pytest.approx([10.0**k for k in range(-240, 241, 120)])
    assert powers_of_ten(Scale(0.5, 20.0, log=True)) == [(1.0, "1"), (10.0, "10\u00b9")]


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("Solar.R", "Solar.R"),
        ("$\\alpha$", "$\\alpha$"),
        ("</svg><b>", "</svg><b>"),
        ("two\nlines\there", "two lines here"),
        ("データ", "データ"),
        ("\x00\x1b\u202eabc", "□□□abc"),
        ("x" * 100 + "_end_1", "xxxxxxxxxxxxxxx…_end_1"),
        ("", ""),
    ],
)
def test_any_name_is_drawn_as_text(name: str, drawn: str) -> None:
    svg = plots.patterns(made_patterns(name, "other")).on_page("P.")
    assert drawn in [*texts(svg), ""]


def test_trace_follows_the_accepted_steps_and_marks_the_others() -> None:
    """A rejected step far below, or without a likelihood, does not flatten the accepted ones."""
    steps = [(0, -50.0, "start"), (1, -20.0, "em"), (2, -1e9, "rejected"), (4, -10.0, "em")]
    fit = made_fit(*(evaluation(*step) for step in steps), evaluation(3, None, "rejected"))
    drawing = plots.trace(fit).on_page("T.")
    upper, lower = lines(drawing, "1.2")
    assert at_ends(upper, -50.0, -10.0) == [
        pytest.approx(point, abs=0.2) for point in ((0, -50), (1, -20), (4, -10))
    ]
    crosses = [float(x) for x in re.findall(r'd="M(\S+) \S+l5 5', drawing)]
    assert len(crosses) == 2
    assert upper[1][0] < crosses[0] < crosses[1] < upper[2][0]
    assert "2 rejected" in texts(drawing)
    # Powers of ten are equal steps down.
    assert [x for x, _ in lower] == [x for x, _ in upper]
    steps = np.diff([y for _, y in lower])
    assert steps[1] / steps[0] == pytest.approx(3.0, abs=0.02)


def lines(svg: str, width: str) -> list[list[tuple[float, float]]]:
    """The points of each line that is so wide."""
    found = re.findall(
        f'd="M([^"]+)" style="fill:none;stroke:currentColor;stroke-width:{width}"', svg
    )
    return [
        [(float(x), float(y)) for x, y in (point.split() for point in path.split("L"))]
        for path in found
    ]


def at_ends(
    points: list[tuple[float, float]], first: float, last: float
) -> list[tuple[float, ...]]:
    """Points by their iteration, from 0 to 4, and by the numbers of the first and the last."""
    (left, low), (right, high) = points[0], points[-1]
    return [
        (4 * (x - left) / (right - left), first + (y - low) / (high - low) * (last - first))
        for x, y in points
    ]


def test_trace_says_when_a_prior_penalises_the_likelihood() -> None:
    drawings = [
        plots.trace(made_fit(evaluation(0, -1.0), prior_rows=prior)).on_page("T.")
        for prior in (0.0, 2.0)
    ]
    assert [texts(one)[0] for one in drawings] == ["log-likelihood", "penalised log-likelihood"]


@pytest.mark.parametrize(
    "evaluations",
    [
        (),
        (evaluation(0, -5.0, "start"),),
        (evaluation(0, None, "rejected"),),
        (Evaluation(0, -5.0, -5.0, None, "start"), Evaluation(1, -5.0, -5.0, 0.0, "em")),
    ],
)
def test_trace_of_hardly_anything_is_drawn(evaluations: tuple[Evaluation, ...]) -> None:
    for fit in (made_fit(*evaluations), dataclasses.replace(made_fit(*evaluations), tol=None)):
        assert "nan" not in plots.trace(fit).on_page("T.")


def test_patterns_have_a_bar_for_their_rows_and_a_box_for_each_cell() -> None:
    drawing = plots.patterns(made_patterns("a", "b", "c")).on_page("P.")
    observed, missing, *bars = (boxes(path) for path in re.findall('<path d="([^"]+)"', drawing))
    [(_, _, seven, _)], [(_, _, three, _)] = bars
    assert seven / three == pytest.approx(7 / 3, rel=1e-3)
    assert [text for text in texts(drawing) if "%" in text] == ["7  (70.0%)", "3  (30.0%)"]
    assert (len(observed), len(missing)) == (3, 3)
    assert [x for x, *_ in observed] == [x for x, *_ in missing]
    assert {y for _, y, *_ in observed} < {y for _, y, *_ in missing} | {observed[0][1]}
    assert observed[0][1] + observed[0][3] < missing[0][1]


def boxes(path: str) -> list[tuple[float, ...]]:
    """Left, top, width and height of each rectangle of a path."""
    found = re.findall(r"M(\S+) (\S+?)h([^v]+)v([^h]+)h", path)
    return [tuple(map(float, box)) for box in found]


def test_halves_of_a_distribution_are_its_densities_to_their_own_peaks() -> None:
    item = Distribution("x", (0.0, 1.0, 2.0, 3.0), (2, 8, 4), (0, 1, 0))
    upper, lower = halves(item)
    assert upper == pytest.approx([0.25, 1.0, 0.5], abs=0.01)
    assert lower == pytest.approx([0.0, -1.0, 0.0], abs=0.01)


def test_distribution_without_imputed_cells_has_an_empty_half() -> None:
    assert halves(Distribution("x", (0.0, 1.0, 2.0), (2, 8), (0, 0)))[1] == [0.0, 0.0]


def halves(item: Distribution) -> list[list[float]]:
    """The heights of the bars of both halves, as parts of the highest above."""
    drawing = plots.distribution(item).on_page("D.")
    found = []
    for path in re.findall('<path d="M([^"]+)z"', drawing):
        heights = [float(point.split()[1]) for point in path.split("L")]
        found.append([heights[0] - height for height in heights[1:-1:2]])
    return [[height / max(found[0]) for height in half] for half in found]


def test_sheet_of_distributions_has_a_titled_panel_for_each() -> None:
    items = [Distribution(f"c{i}", (0.0, 1.0), (1,), (1,)) for i in range(5)]
    shown = texts(plots.distributions(items).on_page("D."))
    assert [text for text in shown if text[0] == "c"] == ["c0", "c1", "c2", "c3", "c4"]
