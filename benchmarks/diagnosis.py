"""What a fit spends on telling a maximum from a saddle, and what is spent when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.cases import Case
from em_impute import PatternSummary, fit_gaussian
from em_impute.gaussian import fit

ROUNDS = 7
HEAD = [
    "case",
    "evaluations",
    "fit itself, CPU s",
    "maximum or saddle / fit itself",
    "goal",
    "worst fraction, when asked / fit itself",
    "evaluations",
    "worst fraction",
]


def by_case(case: Case) -> Iterator[list[object]]:
    """CPU seconds of a fit of a summary, and as shares of them those of its diagnostics.

    Those of all threads: on busy cores the others say little of some milliseconds.
    """
    _, holes = case.make()
    summary = PatternSummary.from_array(holes)
    seconds = np.empty((ROUNDS + 1, 3))
    for turn in seconds:  # the first one warms up
        looked = 0.0

        def timed(*given: Any, look: Any = fit.is_saddle) -> bool | None:
            nonlocal looked
            begin = time.process_time()
            found: bool | None = look(*given)
            looked = time.process_time() - begin
            return found

        begin = time.process_time()
        with patch.object(fit, "is_saddle", timed):
            result = fit_gaussian(summary)
        fitted = time.process_time()
        fraction = result.worst_fraction
        turn[:] = fitted - begin - looked, looked, time.process_time() - fitted
    itself, looked, asked = np.min(seconds[1:], axis=0)
    yield [
        case.title,
        len(result.trace),
        f"{itself:.4f}",
        f"{looked / itself:.2f}",
        0.5,
        f"{asked / itself:.2f}",
        result.missing_information.evaluations or "by matrix",
        f"{fraction:.4f}",
    ]
