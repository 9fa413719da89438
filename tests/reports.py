"""Reports that tests share: with names that would do harm, of runs that ended early, undrawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from em_impute.reporting.drift import Change, CorrelationChange, Drift
from em_impute.reporting.matrices import Correlations, Together
from em_impute.reporting.missingness import MissingnessMap, Pattern
from em_impute.reporting.records import (
    CheckRow,
    GroupRow,
    Groups,
    ImputedCells,
    LevelCounts,
    Report,
)
from em_impute.reporting.sensitivity import DELTAS, Sensitivity, ShiftedMean
from em_impute.reporting.verdict import verdict_on

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</svg><script>alert(1)</script>",
    "a|b",
    "`code` ``",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "<http://example.org>",
    "**b** _i_ __init__ ~~s~~",
    "$\\alpha$ \\| \\",
    "&amp; \"q\" 'q'",
    "{{ report.job }} {% raw %}",
    "😀 データ",
    "n" * 190 + "_the_end",
]
BROKEN = ["line\nbreak | x", "\x1b[31m", "ab\u202egnp.exe"]


def holed_frame(names: list[str], rows: int = 60) -> pd.DataFrame:
    """Make correlated normal columns, a tenth of the cells missing."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(rows, len(names))) + rng.normal(size=(rows, 1))
    values[rng.random(values.shape) < 0.1] = np.nan
    return pd.DataFrame(values, columns=names)


def with_names(report: Report, names: list[str]) -> Report:
    """Put each name wherever a user's text can come in, pictures included."""
    column, distribution = report.columns[0], report.distributions[0]
    check = CheckRow("input", "name", "expected", "observed", "warning", False)
    sentences = [f"Column {name} was left out." for name in names]
    assert report.patterns
    assert report.fit
    return dataclasses.replace(
        report,
        columns=tuple(dataclasses.replace(column, name=name) for name in names),
        distributions=tuple(dataclasses.replace(distribution, column=n) for n in names[:2]),
        levels=tuple(
            LevelCounts(name, tuple(names), *[(1,) * len(names)] * 2) for name in names[2:4]
        ),
        patterns=dataclasses.replace(
            report.patterns,
            columns=tuple(names),
            rows=(Pattern((True,) * len(names), 9, (1.0,) * len(names)),) * 2,
        ),
        missingness=MissingnessMap(tuple(names), ("1" * len(names),), 0, len(names), 1),
        together=Together(tuple(names), ((1,) * len(names),) * len(names), len(names), 2),
        correlations=Correlations(
            tuple(names),
            tuple((0.5,) * i for i in range(len(names))),
            len(names),
            ((names[0], names[1], 0.5),),
        ),
        sensitivity=Sensitivity(
            DELTAS,
            tuple(ShiftedMean(n, 0.5, 1.0, DELTAS, i) for i, n in enumerate(names)),
            len(names),
        ),
        drift=Drift(
            names[0],
            names[1],
            9,
            0.25,
            tuple(Change(name, 1.0, 1.0, 0.0, 0.0, ("mean",)) for name in names),
            CorrelationChange(names[0], names[1], 0.0, 1.0, True),
            sentences=tuple(sentences),
        ),
        groups=Groups(tuple(GroupRow(n, 9, True, "converged", 1) for n in names), 99, 9),
        imputed=tuple(ImputedCells(name, 9, 0.5, 0.5, 1, 1) for name in names),
        manifest=tuple((name, name) for name in names),
        fit=dataclasses.replace(
            report.fit,
            message=" ".join(sentences),
            worst_combination=tuple((name, 1.0) for name in names[:5]),
        ),
        verdict=verdict_on(refusal=None, warnings=sentences, imputed_cells=44, target="t"),
        warnings=tuple(sentences),
        checks=tuple(
            dataclasses.replace(check, name=n, column=n, expected=n, observed=n) for n in names
        ),
        decisions=(f"No warning: {names[0]}",),
    )


def refused_before_the_fit(report: Report) -> Report:
    """Leave what a run knows that did not come to the fit."""
    return dataclasses.replace(
        report,
        fit=None,
        patterns=None,
        distributions=(),
        missingness=None,
        together=None,
        groups=None,
        correlations=None,
        drift=None,
        imputed=(),
    )
