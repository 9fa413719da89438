"""Transforms of single columns, fixed by the job: the model sees the transformed cells.

A transform maps its domain onto its range, both intervals, and is increasing; what the model says
on the transformed scale is mapped back by the inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.special import expit, logit

from em_impute.gaussian.arrays import Floats
from em_impute.job import Logit


@dataclass(frozen=True)
class Transform:
    """An increasing function of one column.

    Attributes
    ----------
    name : str
        As the job has it.
    forward, inverse : callable
        Of arrays, element by element.
    domain : str
        Which values it takes, in words.
    low, high : float
        The ends of the domain.
    closed : bool
        Whether the ends are in the domain.
    """

    name: str
    forward: Callable[[Floats], Floats]
    inverse: Callable[[Floats], Floats]
    domain: str = "any number"
    low: float = -inf
    high: float = inf
    closed: bool = False

    def __reduce__(self) -> tuple[Callable[..., Transform], tuple[str, float, float]]:
        # Another process has the same functions, and one identity, too.
        return _named, (self.name, self.low, self.high)

    def ends(self, low: float, high: float) -> tuple[float, float]:
        """The interval of the transformed scale that `low` to `high` is mapped onto."""
        inside = np.clip(np.array([low, high]), self.low, self.high)
        with np.errstate(divide="ignore"):
            first, last = self.forward(inside)
        return float(first), float(last)


IDENTITY = Transform("none", lambda x: x, lambda y: y)
_NAMED = {
    "log": Transform("log", np.log, np.exp, "above 0", low=0.0),
    "log1p": Transform("log1p", np.log1p, np.expm1, "above -1", low=-1.0),
    "sqrt": Transform("sqrt", np.sqrt, np.square, "0 or more", low=0.0, closed=True),
    "cbrt": Transform("cbrt", np.cbrt, lambda y: y**3),
}


def transform_of(option: str | Logit | None) -> Transform:
    """The transform that a job names; the identity for none."""
    if option is None:
        return IDENTITY
    if isinstance(option, str):
        return _NAMED[option]
    low, high = option.logit
    width = high - low
    return Transform(
        "logit",
        lambda x: logit((x - low) / width),
        lambda y: low + width * expit(y),
        f"above {low:g} and below {high:g}",
        low,
        high,
    )


def _named(name: str, low: float, high: float) -> Transform:
    if name == "logit":
        return transform_of(Logit(logit=(low, high)))
    return {IDENTITY.name: IDENTITY, **_NAMED}[name]
