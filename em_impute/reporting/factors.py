"""A factor model's factors, as the report describes them: their parts, loadings, and BIC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.families import FactorFit

# The columns and factors that the report shows at most.
MOST_COLUMNS, MOST_FACTORS = 30, 10


@dataclass(frozen=True)
class Loads:
    """A column and its factors.

    Attributes
    ----------
    column : str
    explained : float
        The part of its variance that the factors explain (communality).
    correlations : tuple of float
        With the factors that are shown: its loadings over its standard deviation.
    held : bool
        Whether its noise is at the floor.
    """

    column: str
    explained: float
    correlations: tuple[float, ...]
    held: bool = False


@dataclass(frozen=True)
class Factors:
    """All that the report says of a factor model.

    Attributes
    ----------
    noise : {"diagonal", "isotropic"}
    rotation : str or None
    rows : int
        With something observed.
    explained : tuple of float
        The part of the standardised columns' variance that each factor explains.
    loads : tuple of Loads
        The columns that load most on any factor, at most `MOST_COLUMNS`, by the factor that each
        goes with most.
    total_columns : int
        That vary.
    bics : tuple of (int, float)
        BIC by number of factors; empty where the job gives it.
    """

    noise: str
    rotation: str | None
    rows: int
    explained: tuple[float, ...]
    loads: tuple[Loads, ...]
    total_columns: int
    bics: tuple[tuple[int, float], ...] = ()

    @property
    def shown(self) -> int:
        """How many factors are shown: those that explain most."""
        return min(len(self.explained), MOST_FACTORS)

    @property
    def matrix(self) -> Floats:
        """The correlations of the columns with the factors that are shown."""
        return np.array([one.correlations for one in self.loads])


def describe_factors(fit: FactorFit, rotation: str | None) -> Factors:
    """Describe a factor model; `rotation` is how the job has its factors turned."""
    model = fit.model
    varying = np.flatnonzero(model.sd > 0)
    correlations = model.loadings[varying] / model.sd[varying, None]
    held = model.standardised.held[varying]
    explained = np.sum(correlations**2, axis=1)
    shown = correlations[:, :MOST_FACTORS]
    return Factors(
        noise="isotropic" if model.standardised.isotropic else "diagonal",
        rotation=rotation,
        rows=round(fit.n_rows),
        explained=tuple(np.mean(correlations**2, axis=0).tolist()),
        loads=tuple(
            Loads(
                model.columns[varying[j]],
                float(explained[j]),
                tuple(shown[j].tolist()),
                bool(held[j]),
            )
            for j in _most_loaded(shown)
        ),
        total_columns=len(varying),
        bics=tuple(fit.bics.items()),
    )


def _most_loaded(correlations: Floats) -> Ints:
    """The rows with the largest entries in any column, by the column of their own largest."""
    strength = np.abs(correlations)
    ranks = np.argsort(np.argsort(-strength, axis=0, kind="stable"), axis=0)
    chosen = np.argsort(ranks.min(axis=1), kind="stable")[:MOST_COLUMNS]
    own = strength[chosen].argmax(axis=1)
    return chosen[np.lexsort((-strength[chosen].max(axis=1), own))]
