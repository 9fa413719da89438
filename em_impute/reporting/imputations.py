"""How the models of several imputations were drawn, and the course of the chains that drew them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from em_impute.tables.imputations import Drawn

# So many points of a chain show its course.
MOST_POINTS = 400


@dataclass(frozen=True)
class Trace:
    """The course of a parameter, in units of standardised columns.

    Attributes
    ----------
    parameter : str
    sweeps : tuple of int
        Their numbers, after the burn-in.
    chains : tuple of tuple of float
        For each chain its values at these.
    """

    parameter: str
    sweeps: tuple[int, ...]
    chains: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Imputations:
    """Several imputations.

    Attributes
    ----------
    draws : int
        How many.
    posterior : {"augmentation", "bootstrap", "ml"}
        Where their models come from.
    sentence : str
        How the chains ended; empty without chains.
    mixed : bool or None
        Whether they came to one distribution; None without chains.
    traces : tuple of Trace
        Of the slowest parameters.
    """

    draws: int
    posterior: str
    sentence: str = ""
    mixed: bool | None = None
    traces: tuple[Trace, ...] = ()


def describe_imputations(drawn: Drawn, posterior: str) -> Imputations:
    """Return what a report says of several imputations."""
    mixing = drawn.mixing
    if mixing is None:
        return Imputations(len(drawn.models), posterior)
    shown = np.linspace(0, mixing.sweeps - 1, min(mixing.sweeps, MOST_POINTS)).round().astype(int)
    traces = tuple(
        Trace(name, tuple((shown + 1).tolist()), tuple(map(tuple, course[:, shown].tolist())))
        for name, course in mixing.traces.items()
    )
    return Imputations(len(drawn.models), posterior, mixing.sentence, mixing.mixed, traces)
