"""Rows that a model is fitted to as they are, where no sums of them determine it.

They are held in memory, encoded. Of a table with more than `MOST_CELLS` cells in the model's
columns they are a sample, spread over the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from em_impute.gaussian import EMResult, Iteration, PatternSummary
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families import FactorFit, MixtureFit, Options, fit_factor, fit_mixture
from em_impute.gaussian.filling import FittedModel
from em_impute.gaussian.stopping import unheard
from em_impute.job import FAMILIES, ModelOptions
from em_impute.tables.columns.roles import Roles
from em_impute.tables.sample import SEED, spread_ranks
from em_impute.tables.snapshot import Snapshot, read_batches
from em_impute.tables.summarise import fit_model

# 400 MB of numbers.
MOST_CELLS = 50_000_000
# What the starts of a mixture are drawn from.
START_SEED = 1


class WholeRows:
    """Encoded rows, which come in portions.

    Parameters
    ----------
    columns : sequence of str
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._portions = [np.empty((0, len(self.columns)))]

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return sum(map(len, self._portions))

    def update(self, X: Floats) -> None:
        """Take in more rows."""
        self._portions.append(X)

    def __add__(self, other: WholeRows) -> WholeRows:
        """The rows of both."""
        both = WholeRows(self.columns)
        both._portions = [*self._portions, *other._portions]
        return both

    def matrix(self) -> Floats:
        """All as one matrix, row behind row."""
        self._portions = [np.concatenate(self._portions)]
        return self._portions[0]


Data = PatternSummary | WholeRows
"""What a model of some family is fitted to."""


def nothing_yet(options: ModelOptions, columns: Sequence[str]) -> Data:
    """Data of the family without rows."""
    return WholeRows(columns) if options.is_of_rows else PatternSummary(columns)


def most_rows(roles: Roles) -> int:
    """How many rows of the model's columns are held at most."""
    return max(MOST_CELLS // max(len(roles.dimensions), 1), 1)


def sampled(
    portions: Iterable[tuple[pa.RecordBatch, Floats]], rows: int, roles: Roles
) -> Iterator[tuple[pa.RecordBatch, Floats]]:
    """Portions of a table's rows, as cells and as the model takes them, thinned to the most rows.

    Parameters
    ----------
    portions : iterable of (RecordBatch, ndarray)
    rows : int
        How many there are in all.
    roles : Roles
    """
    chosen, start = spread_ranks(rows, min(rows, most_rows(roles)), SEED), 0
    for batch, X in portions:
        first, last = np.searchsorted(chosen, [start, start + len(X)])
        at = chosen[first:last] - start
        start += len(X)
        # What is chosen is copied: nothing else of the batch is kept alive.
        yield (batch, X) if len(at) == len(X) else (batch.take(pa.array(at)), X[at])


def encoded(snapshot: Snapshot, roles: Roles) -> Iterator[tuple[pa.RecordBatch, Floats]]:
    """The batches of a snapshot, also as the model takes them."""
    names = (*roles.model_columns, *roles.group_by)
    return ((batch, roles.encode(batch)) for batch in read_batches(snapshot.path, names))


def read_rows(snapshot: Snapshot, roles: Roles) -> WholeRows:
    """The encoded rows of a snapshot, or a sample of them."""
    return gathered(encoded(snapshot, roles), snapshot.rows, roles)


def gathered(
    portions: Iterable[tuple[pa.RecordBatch, Floats]], rows: int, roles: Roles
) -> WholeRows:
    """The same of portions; parameters as in `sampled`.

    Parameters
    ----------
    portions : iterable of (RecordBatch, ndarray)
    rows : int
    roles : Roles
    """
    found = WholeRows(roles.dimensions)
    for _, X in sampled(portions, rows, roles):
        found.update(X)
    return found


def sample_in_words(snapshot: Snapshot, roles: Roles, options: ModelOptions) -> str:
    """That a model is fitted to a sample of the rows; empty if it is to all.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    options : ModelOptions
    """
    if not options.is_of_rows or snapshot.rows <= (most := most_rows(roles)):
        return ""
    return (
        f"The {FAMILIES[options.family]} is fitted to a sample of {most:,} of the table's "
        f"{snapshot.rows:,} rows, as many as {MOST_CELLS:,} cells hold."
    )


def fit_data(
    data: Data,
    options: ModelOptions,
    on_iteration: Callable[[Iteration], None] | None = None,
    near: FittedModel | None = None,
) -> FittedModel:
    """Fit a model of the family that the data are for; the result has the status.

    Parameters
    ----------
    data : PatternSummary or WholeRows
    options : ModelOptions
    on_iteration : callable, optional
        Called with each `Iteration`.
    near : FittedModel, optional
        A fit to nearly the same rows.

    Raises
    ------
    ValueError
        If the data determine no such model.
    """
    if isinstance(data, WholeRows):
        return fit_rows(data, options, on_iteration, near)
    return fit_model(data, options, on_iteration, near=near if isinstance(near, EMResult) else None)


def fit_rows(
    rows: WholeRows,
    options: ModelOptions,
    on_iteration: Callable[[Iteration], None] | None = None,
    near: FittedModel | None = None,
) -> MixtureFit | FactorFit:
    """Fit a mixture or a factor model as a job says; parameters and errors as in `fit_data`.

    A constant column takes no part, and is filled with its value. With a fit that is `near` there
    are as many components or factors, and the same prior.

    Parameters
    ----------
    rows : WholeRows
    options : ModelOptions
    on_iteration : callable, optional
    near : MixtureFit or FactorFit, optional
    """
    X, limit = rows.matrix(), options.time_limit
    constants = _constants(X, rows.columns)
    varying = [name not in constants for name in rows.columns]
    if not any(varying):
        raise ValueError(
            "Every column of the model is constant, so there is nothing by which components or "
            "factors could differ. Use `family: gaussian`."
        )
    fit = (_fit_factor if options.is_factor else _fit_mixture)(
        X[:, varying] if constants else X,
        [name for name in rows.columns if name not in constants],
        options,
        Options(
            options.tol,
            options.max_iter,
            deadline=None if limit is None else time.monotonic() + limit,
            on_iteration=on_iteration or unheard,
        ),
        near,
    )
    if not constants:
        return fit
    return replace(fit, model=fit.model.with_constants(rows.columns, constants))  # type: ignore[arg-type]


def _fit_mixture(
    X: Floats,
    columns: Sequence[str],
    options: ModelOptions,
    limits: Options,
    near: FittedModel | None,
) -> MixtureFit:
    wanted, prior = options.components or "auto", options.prior
    if isinstance(near, MixtureFit):
        wanted, prior = near.n_components, near.prior_rows
    return fit_mixture(
        X,
        columns,
        "bic" if wanted == "auto" else wanted,
        kind=options.covariance_type or "full",
        prior_rows=prior,
        n_init=options.starts,
        options=limits,
        rng=np.random.default_rng(START_SEED),
    )


def _fit_factor(
    X: Floats,
    columns: Sequence[str],
    options: ModelOptions,
    limits: Options,
    near: FittedModel | None,
) -> FactorFit:
    wanted = options.components or "auto"
    if isinstance(near, FactorFit):
        wanted = near.n_components
    return fit_factor(
        X,
        columns,
        "bic" if wanted == "auto" else wanted,
        noise=options.noise or "diagonal",
        rotation=options.rotation,
        min_noise=options.min_noise,
        options=limits,
    )


def _constants(X: Floats, columns: Sequence[str]) -> dict[str, float]:
    """The columns of which all observed cells are equal, with what they hold."""
    seen = (column[~np.isnan(column)] for column in X.T)
    return {
        name: float(cells[0])
        for name, cells in zip(columns, seen, strict=True)
        if len(cells) and not np.ptp(cells)
    }
