"""The columns of the table, and what was filled in them, as the report describes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from em_impute.gaussian import Observed, PatternSummary
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.filling import FillingModel
from em_impute.reporting.records import Column, ImputedCells, Role
from em_impute.tables.digest import Digest, Moments, finite


def describe_columns(
    roles: Mapping[str, Role],
    missing: Mapping[str, int],
    rows: int,
    *,
    summary: PatternSummary | Observed | None = None,
    model: FillingModel | None = None,
    imputed: Mapping[str, Moments] | None = None,
) -> tuple[Column, ...]:
    """Describe every column of the table.

    Parameters
    ----------
    roles : mapping of str to str
        Each column's role, in the order of the table.
    missing : mapping of str to int
        Missing cells of each column of `roles`.
    rows : int
        Rows of the table.
    summary, model : optional
        Give the observed and the estimated moments of the model's columns, as far as the run
        came.
    imputed : mapping of str to Moments, optional
        Moments of the filled cells of each imputed column.
    """
    observed = {} if summary is None else _observed_moments(summary)
    estimated = {} if model is None else _moments_of_model(model, rows)
    filled = imputed or {}
    return tuple(
        Column(
            name=name,
            role=role,
            missing=missing[name],
            observed=observed.get(name, Moments(rows - missing[name])),
            em=estimated.get(name, Moments(0)),
            imputed=filled.get(name, Moments(0)),
        )
        for name, role in roles.items()
    )


@dataclass
class ImputedDigest:
    """What is known of the imputed cells of a column of numbers, which come in portions.

    Attributes
    ----------
    low, high : float
        The least and the greatest observed cell.
    bounds : pair of float or None
        The least and the greatest number that the job lets be filled in; None if it sets no bounds.
    cells, sd : Digest
        The cells, and their conditional standard deviations.
    beyond, at_bound : int
        Cells outside of the observed range, and at a bound.
    """

    low: float
    high: float
    bounds: tuple[float, float] | None = None
    cells: Digest = field(default_factory=Digest)
    sd: Digest = field(default_factory=Digest)
    beyond: int = 0
    at_bound: int = 0

    def add(self, cells: Floats, sd: Floats) -> None:
        """Take in the next cells and their standard deviations, arrays of shape (n,)."""
        self.cells.add(cells)
        self.sd.add(sd[np.isfinite(sd)])
        if self.low <= self.high:
            self.beyond += int(np.count_nonzero((cells < self.low) | (cells > self.high)))
        # A bound that a narrow type cannot hold is met by its neighbour.
        for bound in self.bounds or ():
            self.at_bound += int(np.count_nonzero(np.isclose(cells, bound, rtol=1e-6, atol=0.0)))

    def describe(self, column: Column) -> ImputedCells:
        """Describe the cells of `column`, which says how it varies."""
        scale = column.em.sd or math.nan
        middle = np.median(self.sd.kept) if self.sd.count else math.nan
        return ImputedCells(
            column=column.name,
            count=self.cells.count,
            sd_mean=finite(self.sd.mean / scale) if self.sd.count else None,
            sd_median=finite(float(middle) / scale),
            beyond=self.beyond,
            at_bound=None if self.bounds is None else self.at_bound,
        )


def digest(portions: Iterable[Mapping[str, Floats]], columns: Iterable[str]) -> dict[str, Digest]:
    """Digest the cells of some columns in one pass; a portion may lack a column."""
    digests = {name: Digest() for name in columns}
    for portion in portions:
        for name in digests.keys() & portion.keys():
            digests[name].add(portion[name])
    return digests


def _observed_moments(summary: PatternSummary | Observed) -> dict[str, Moments]:
    return {
        name: Moments(int(count), finite(mean), finite(sd))
        for name, count, mean, sd in zip(
            summary.columns,
            summary.observed_counts,
            summary.observed_mean,
            summary.observed_sd,
            strict=True,
        )
    }


def _moments_of_model(model: FillingModel, rows: int) -> dict[str, Moments]:
    return {
        name: Moments(rows, finite(mean), finite(sd))
        for name, mean, sd in zip(model.columns, model.mean, model.sd, strict=True)
    }
