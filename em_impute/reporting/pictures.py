"""The pictures of the pages, each with what it shows in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from em_impute.reporting import component_plots, plots, self_test_plots, style
from em_impute.reporting.components import Components
from em_impute.reporting.factors import Factors
from em_impute.reporting.formatting import escape_markdown
from em_impute.reporting.imputations import Trace
from em_impute.reporting.means import Means
from em_impute.reporting.missingness import Patterns
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Distribution, Fit, LevelCounts, Report
from em_impute.reporting.svg import Drawing
from em_impute.self_test.scores import INTERVALS, NumberScores, SelfTest

# Columns whose distributions the artifact shows.
PANELS = 12
IN_THE_PAGE = (
    "trace",
    "patterns",
    "missingness",
    "together",
    "means",
    "chains",
    "bics",
    "directions",
    "loadings",
    "correlations",
    "errors",
    "coverage",
)
# The last of them are left out of an artifact that would be too large.
IN_THE_ARTIFACT = (
    "verdict",
    "trace",
    "patterns",
    "missingness",
    "directions",
    "loadings",
    "bics",
    "distributions",
    "means",
    "chains",
    "errors",
    "coverage",
    "pits",
    "calibrations",
    "correlations",
    "together",
)
_MAP_IN_WORDS = "All rows by their missingness patterns, missing cells in blue."
_TOGETHER_IN_WORDS = "Of the rows that miss one column, the share that also misses another."
_CORRELATIONS_IN_WORDS = "The model's correlations, column by column."


class _Picture(NamedTuple):
    """A picture that a report has: under which name, how it is drawn, and what it is in words."""

    name: str
    draw: Callable[[], Drawing]
    words: Callable[[], str]


class _Drawn(dict[str, Markup]):
    """Pictures by their names; nothing for one that there is not."""

    def __missing__(self, name: str) -> Markup:
        return Markup()


def of_page(report: Report, parts: Parts) -> dict[str, Markup]:
    """The pictures of the page, as SVG elements."""

    def drawn(picture: _Picture) -> Markup:
        # The words in it have been escaped.
        return Markup(picture.draw().on_page(picture.words()))

    note = Markup('<p class="alarm">This picture could not be drawn.</p>')
    return _Drawn(
        (picture.name, parts.make(f"picture {picture.name}", partial(drawn, picture), note))
        for picture in parts.make("pictures", lambda: list(_of_the_page(report)), [])
    )


def of_artifact(report: Report, parts: Parts) -> dict[str, Markup]:
    """The pictures of the artifact, the most important first."""

    def drawn(picture: _Picture) -> Markup:
        words = picture.words()
        return Markup(f"![{escape_markdown(words)}]({picture.draw().as_image(words)})")

    note = Markup("This picture could not be drawn.")
    return {
        picture.name: parts.make(
            f"artifact's picture {picture.name}", partial(drawn, picture), note
        )
        for picture in parts.make("artifact's pictures", lambda: list(_of_the_artifact(report)), [])
    }


def _of_the_page(report: Report) -> Iterator[_Picture]:
    known = {picture.name: picture for picture in _of_both(report)}
    yield from (known[name] for name in IN_THE_PAGE if name in known)
    for i, item in enumerate(report.panels):
        yield _Picture(
            f"column{i}", partial(plots.distribution, item), partial(_distribution_in_words, item)
        )
    if test := report.self_test:
        for i, scores in enumerate(uneven := self_test_plots.uneven_first(test)):
            misfit = scores.column in test.misfits
            yield _Picture(
                f"pit{i}",
                partial(self_test_plots.pit, scores, misfit),
                partial(_pit_in_words, scores),
            )
        for i, scores in enumerate(self_test_plots.calibrated(uneven)):
            yield _Picture(
                f"calibration{i}",
                partial(self_test_plots.calibration, scores),
                partial(_calibration_in_words, scores),
            )


def _of_the_artifact(report: Report) -> Iterator[_Picture]:
    known = {picture.name: picture for picture in _of_both(report)}
    yield from (known[name] for name in IN_THE_ARTIFACT if name in known)


def _of_both(report: Report) -> Iterator[_Picture]:
    """The pictures of a report but for those of single columns."""
    outcome = report.verdict.outcome
    colour = style.VERDICT_COLOURS[outcome]
    yield _Picture("verdict", lambda: plots.bar(colour), lambda: outcome)
    if fit := report.fit:
        yield _Picture("trace", lambda: plots.trace(fit), lambda: _trace_in_words(fit))
    if rows := report.patterns:
        yield _Picture("patterns", lambda: plots.patterns(rows), lambda: _patterns_in_words(rows))
    if holes := report.missingness:
        yield _Picture("missingness", lambda: plots.missingness(holes), lambda: _MAP_IN_WORDS)
    if both := report.together:
        yield _Picture("together", lambda: plots.together(both), lambda: _TOGETHER_IN_WORDS)
    if means := report.means:
        yield _Picture("means", lambda: plots.means(means), lambda: _means_in_words(means))
    if (several := report.imputations) and several.traces:
        traces = several.traces
        yield _Picture("chains", lambda: plots.chains(traces), lambda: _chains_in_words(traces))
    if found := report.components:
        yield from _of_the_components(found)
    if factors := report.factors:
        yield from _of_the_factors(factors)
    if matrix := report.correlations:
        yield _Picture(
            "correlations", lambda: plots.correlations(matrix), lambda: _CORRELATIONS_IN_WORDS
        )
    if panels := report.panels[:PANELS]:
        yield _Picture(
            "distributions",
            lambda: plots.distributions(panels),
            lambda: _distributions_in_words(panels),
        )
    if (test := report.self_test) and test.numbers:
        yield from _of_the_self_test(test)


def _of_the_components(found: Components) -> Iterator[_Picture]:
    """The pictures of a mixture."""
    k = len(found.weights)
    if len(found.bics) > 1:
        yield _Picture(
            "bics",
            lambda: component_plots.bics(found.bics, k, "components"),
            lambda: f"BIC by number of components; the best has {k}.",
        )
    if shown := found.directions:
        yield _Picture(
            "directions",
            lambda: component_plots.directions(shown),
            lambda: f"Rows and the ellipses of {k} components in the plane that parts them most.",
        )


def _of_the_factors(found: Factors) -> Iterator[_Picture]:
    """The pictures of a factor model."""
    k = len(found.explained)
    yield _Picture(
        "loadings",
        lambda: plots.loadings(found),
        lambda: f"Correlations of factors (1 to {found.shown}) with {len(found.loads)} columns.",
    )
    if len(found.bics) > 1:
        yield _Picture(
            "bics",
            lambda: component_plots.bics(found.bics, k, "factors"),
            lambda: f"BIC by number of factors; the best has {k}.",
        )


def _of_the_self_test(test: SelfTest) -> Iterator[_Picture]:
    """The pictures of the self-test but for those of single columns."""
    if test.rmse_ratio is not None:
        yield _Picture(
            "errors", lambda: self_test_plots.errors(test), lambda: _errors_in_words(test)
        )
    if test.coverage.at_95 is not None:
        yield _Picture(
            "coverage", lambda: self_test_plots.coverage(test), lambda: _coverage_in_words(test)
        )
        yield _Picture(
            "pits", lambda: self_test_plots.pits(test), lambda: "PIT histograms by column."
        )
        if shown := self_test_plots.calibrated(self_test_plots.uneven_first(test, PANELS)):
            yield _Picture(
                "calibrations",
                lambda: self_test_plots.calibrations(shown),
                lambda: "Observed against predicted means of test cells by column.",
            )


def _trace_in_words(fit: Fit) -> str:
    rejected = f", {fit.rejected:,} of them rejected" if fit.rejected else ""
    return (
        f"Log-likelihood and estimated distance to the maximum over {fit.evaluations:,} "
        f"iterations of EM{rejected}."
    )


def _patterns_in_words(patterns: Patterns) -> str:
    return (
        f"The {len(patterns.rows)} most frequent missingness patterns of "
        f"{patterns.total_patterns:,}, by column, with the number of rows of each."
    )


def _means_in_words(means: Means) -> str:
    return f"Estimated means of {len(means.rows)} columns with their 95% intervals."


def _chains_in_words(traces: Sequence[Trace]) -> str:
    return f"The course of {len(traces)} parameters in {len(traces[0].chains)} chains."


def _distribution_in_words(item: Distribution | LevelCounts) -> str:
    what = "Histogram" if isinstance(item, Distribution) else "Shares of the levels"
    return f"{what} of {sum(item.observed):,} observed and {sum(item.imputed):,} imputed cells."


def _distributions_in_words(items: Sequence[Distribution | LevelCounts]) -> str:
    return f"Distributions of the observed and the imputed cells of {len(items)} columns."


def _errors_in_words(test: SelfTest) -> str:
    return f"Errors on test cells relative to the baselines; overall {test.rmse_ratio:.2f}."


def _coverage_in_words(test: SelfTest) -> str:
    pairs = zip(test.coverage.shares, INTERVALS, strict=True)
    held = (f"{share:.1%} in the {level:.0%} ones" for share, level in pairs)
    return f"Share of test cells in their intervals: {', '.join(held)}."


def _pit_in_words(scores: NumberScores) -> str:
    return f"Histogram of the PIT of {scores.spread_cells:,} test cells: " + ", ".join(
        f"{count:,}" for count in scores.pit
    )


def _calibration_in_words(scores: NumberScores) -> str:
    shares = ", ".join(f"{b.within / b.cells:.0%}" for b in scores.calibration)
    return (
        f"Observed against predicted means of {scores.spread_cells:,} test cells in "
        f"{len(scores.calibration)} bins; in the 90% intervals: {shares}."
    )
