"""What the page says of each column on one line, before all else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_scores import helped, judged, useless

from em_impute.reporting.drift import Change, Drift
from em_impute.reporting.glance import Glance, glances
from em_impute.reporting.miniatures import miniature
from em_impute.reporting.records import Column, Distribution, ImputedCells, LevelCounts, Report
from em_impute.self_test.scores import LevelScores
from em_impute.tables.digest import Moments


@pytest.fixture
def calm(report: Report) -> Report:
    """A report with nothing to know of its columns."""
    return replace(report, imputed=())


def by_name(report: Report) -> dict[str, Glance]:
    return {one.column.name: one for one in glances(report)}


def test_each_column_with_missing_cells_has_a_line(calm: Report) -> None:
    known = by_name(calm)
    assert set(known) == {column.name for column in calm.columns if column.missing}
    ozone = known["Ozone"]
    assert (ozone.column.missing, ozone.left, ozone.error, ozone.notes) == (37, 0, None, ())
    assert ozone.panel in calm.distributions


def test_the_error_is_that_of_the_test_cells(calm: Report) -> None:
    good, bad = helped(2000, 1, "Ozone"), useless(2000, 2, "Solar.R")
    known = by_name(replace(calm, self_test=judged(good, bad)))
    assert known["Ozone"].error == good.rmse_ratio
    assert known["Ozone"].coverage == good.coverage.at_95
    assert known["Ozone"].notes == ()
    assert known["Solar.R"].notes == ("no better than the mean",)
    assert next(iter(known)) == "Solar.R"  # what there is to know comes first


def test_levels_are_compared_with_the_most_frequent_one(report: Report) -> None:
    level = Column("sex", "impute", 4, Moments(96), Moments(0), Moments(4))
    of_levels = replace(
        report,
        columns=(level,),
        levels=(LevelCounts("sex", ("f", "m"), (50, 46), (3, 1)),),
        self_test=judged(levels=(LevelScores("sex", 90, 80, 50, 30),)),
    )
    [one] = glances(of_levels)
    assert one.error == pytest.approx(10 / 40)
    assert one.coverage is None
    frequent = judged(levels=(LevelScores("sex", 90, 50, 50, 0),))
    [one] = glances(replace(of_levels, self_test=frequent))
    assert (one.error, one.notes) == (1.0, ("no better than the most frequent level",))


def test_what_became_of_a_column_is_noted(report: Report) -> None:
    changed = Change("Ozone", 0.6, 1.0, 0.1, 0.3, ("mean", "missing"))
    noted = by_name(
        replace(
            report,
            imputed=(
                ImputedCells("Ozone", 37, 0.5, 0.5, 4, 12),
                ImputedCells("Solar.R", 7, 1, 1, 0),
            ),
            drift=Drift("calm-otter", "2026-11-21", 153, 0.25, (changed,), sentences=("Moved.",)),
            self_test=judged(helped(200, 1, "Solar.R")),
        )
    )
    assert noted["Solar.R"].notes == ()
    assert noted["Ozone"].notes == (
        "not tested: too few cells",
        "32.4% at a bound",
        "10.8% beyond the observed range",
        "drifted: mean, missing",
    )


def test_what_is_left_unfilled_says_why(report: Report) -> None:
    text = Column("note", "passthrough", 5, Moments(148), Moments(0), Moments(0), left="text")
    one = by_name(replace(report, columns=(*report.columns, text)))["note"]
    assert (one.left, one.notes) == (5, ("left unfilled: text",))


def test_a_run_that_filled_nothing_does_not_say_what_is_left(report: Report) -> None:
    nothing = tuple(replace(column, imputed=Moments(0)) for column in report.columns)
    refused = replace(report.verdict, outcome="not published")
    assert {one.left for one in glances(replace(report, columns=nothing, verdict=refused))} == {
        None
    }


def test_the_miniature_has_a_bar_for_each_bin() -> None:
    panel = Distribution("x", tuple(np.arange(4.0)), (2, 4, 0), (0, 0, 3))
    drawn = miniature(panel)
    assert 'd="M0 1V0.500h1V0.000h1V1.000h1V1z"' in drawn
    assert 'd="M0 1V1.000h1V1.000h1V2.000h1V1z"' in drawn
    assert "6 observed above 3 filled cells" in drawn
    assert miniature(None) == ""
