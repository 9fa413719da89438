"""A snapshot becomes a `PatternSummary`, in one pass over its batches, and that a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian import (
    ConvergenceWarning,
    EMResult,
    Iteration,
    PatternSummary,
    fit_gaussian,
)
from em_impute.job import ModelOptions
from em_impute.tables.columns import Roles
from em_impute.tables.sources import Snapshot, read_batches

Floats = NDArray[np.float64]

# Every update goes through the whole summary, so batches are put together up to so many cells.
GATHERED_CELLS = 2**22


def summarise(snapshot: Snapshot, roles: Roles) -> PatternSummary:
    """Sum up the model's columns of a snapshot per missingness pattern: all that EM needs."""
    batches = read_batches(snapshot.path, roles.model_columns)
    return sum_up((roles.encode(batch) for batch in batches), roles.dimensions)


def sum_up(matrices: Iterable[Floats], columns: Sequence[str]) -> PatternSummary:
    """Sum up rows that come in portions."""
    summary = PatternSummary(columns)
    for X in _gathered(matrices):
        summary.update(X)
    return summary


def _gathered(matrices: Iterable[Floats]) -> Iterator[Floats]:
    held: list[Floats] = []
    for X in matrices:
        held.append(X)
        if sum(part.size for part in held) >= GATHERED_CELLS:
            yield np.concatenate(held)
            held.clear()
    if held:
        yield np.concatenate(held)


def fit_model(
    summary: PatternSummary,
    options: ModelOptions,
    on_iteration: Callable[[Iteration], None] | None = None,
    near: EMResult | None = None,
) -> EMResult:
    """Fit a model as a job says; the result has the status, so nothing is warned of.

    With a fit that is `near`, to nearly the same rows, the search begins there and has its prior.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit_gaussian(
            summary,
            tol=options.tol,
            max_iter=options.max_iter,
            acceleration=options.acceleration,
            prior_rows=near.prior_rows if near else options.prior,
            start=near.model if near else None,
            diagnostics=near is None,
            time_limit=options.time_limit,
            on_iteration=on_iteration,
        )
