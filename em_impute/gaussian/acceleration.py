"""Acceleration of a fixed-point iteration ``theta <- G(theta)``: Anderson's, or none.

A method sees pairs (theta, G(theta)) and proposes where to evaluate G next. It also estimates the
slowest rate of the plain iteration (the largest eigenvalue of the Jacobian of G), from which the
distance that is left can be judged.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from em_impute.gaussian.patterns import Floats

DEPTH = 10
# Differences that are this dependent on the others say nothing but rounding.
DEPENDENT = 1e-10


class Acceleration(Protocol):
    """What the EM loop asks of a method."""

    rate: float
    """Estimate of the plain iteration's rate, in [0, 1); NaN while unknown."""

    def propose(self, theta: Floats, image: Floats) -> Floats | None:
        """Where to evaluate next, given ``image = G(theta)``; None for the image itself."""

    def restart(self) -> None:
        """Forget the history: the last proposal led nowhere."""


class Plain:
    """No acceleration: the image is the next point."""

    def __init__(self) -> None:
        self.rate = np.nan
        self._residual: Floats | None = None

    def propose(self, theta: Floats, image: Floats) -> Floats | None:
        """Return None, always; learn the rate from the shrinking of the steps."""
        residual = image - theta
        if self._residual is not None:
            self.rate = _ratio(np.linalg.norm(residual), np.linalg.norm(self._residual))
        self._residual = residual
        return None

    def restart(self) -> None:
        """Nothing to forget."""


class Anderson:
    """Anderson acceleration (Walker & Ni 2011; Henderson & Varadhan 2019).

    With ``F = G(theta) - theta`` and `dTheta`, `dF` the differences between the last `depth`
    points, the next point is ``G(theta) - (dTheta + dF) gamma``, `gamma` minimising
    ``|F - dF gamma|``.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self.rate = np.nan
        self._depth = depth
        self._last: tuple[Floats, Floats] | None = None
        self._steps: deque[Floats] = deque(maxlen=depth)
        self._changes: deque[Floats] = deque(maxlen=depth)

    def propose(self, theta: Floats, image: Floats) -> Floats | None:
        """Return the accelerated point; None while there is no history."""
        residual = image - theta
        if self._last is not None:
            self._steps.append(theta - self._last[0])
            self._changes.append(residual - self._last[1])
        self._last = (theta, residual)
        if not self._steps:
            return None
        steps, changes = np.array(self._steps).T, np.array(self._changes).T
        self.rate = _slowest_rate(steps, changes)
        gamma = np.linalg.lstsq(changes, residual, rcond=DEPENDENT)[0]
        proposal: Floats = image - (steps + changes) @ gamma
        return proposal

    def restart(self) -> None:
        """Forget the history."""
        self._last = None
        self._steps.clear()
        self._changes.clear()


METHODS: dict[str, type[Plain] | type[Anderson]] = {"anderson": Anderson, "none": Plain}


def _slowest_rate(steps: Floats, changes: Floats) -> float:
    """Largest eigenvalue of the Jacobian of G, seen from the space of the steps."""
    basis, scales, mixing = np.linalg.svd(steps, full_matrices=False)
    kept = scales > 1e-6 * scales[0]
    images = (steps + changes) @ mixing[kept].T / scales[kept]
    eigenvalues = np.linalg.eigvals(basis[:, kept].T @ images)
    return float(np.clip(eigenvalues.real.max(initial=0.0), 0.0, np.nextafter(1.0, 0.0)))


def _ratio(new: np.floating, old: np.floating) -> float:
    return float(min(new / old, np.nextafter(1.0, 0.0))) if old > 0 else 0.0
