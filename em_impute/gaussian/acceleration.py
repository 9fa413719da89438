"""Acceleration of a fixed-point iteration ``theta <- G(theta)``: Anderson's, SQUAREM, or none.

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


class _History:
    """Differences between the last points that a method has seen, and what they tell of G."""

    def __init__(self, depth: int) -> None:
        self._last: tuple[Floats, Floats] | None = None
        self._steps: deque[Floats] = deque(maxlen=depth)
        self._changes: deque[Floats] = deque(maxlen=depth)

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, theta: Floats, residual: Floats) -> None:
        """Take in a point and ``F = G(theta) - theta`` there."""
        if self._last is not None:
            self._steps.append(theta - self._last[0])
            self._changes.append(residual - self._last[1])
        self._last = (theta, residual)

    @property
    def steps(self) -> Floats:
        """Differences of the points (k, d)."""
        return np.array(self._steps)

    @property
    def changes(self) -> Floats:
        """Differences of their residuals (k, d)."""
        return np.array(self._changes)

    def slowest_rate(self) -> float:
        """Largest eigenvalue of the Jacobian of G, seen from the space of the steps."""
        steps = self.steps
        squares, mixing = np.linalg.eigh(steps @ steps.T)
        kept = squares > 1e-12 * squares[-1]
        basis = mixing[:, kept] / np.sqrt(squares[kept])
        images = steps + self.changes
        eigenvalues = np.linalg.eigvals(basis.T @ (steps @ images.T) @ basis)
        return float(np.clip(eigenvalues.real.max(initial=0.0), 0.0, np.nextafter(1.0, 0.0)))


class Anderson:
    """Anderson acceleration (Walker & Ni 2011; Henderson & Varadhan 2019).

    With ``F = G(theta) - theta`` and `dTheta`, `dF` the differences between the last `depth`
    points, the next point is ``G(theta) - (dTheta + dF) gamma``, `gamma` minimising
    ``|F - dF gamma|``.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self.rate = np.nan
        self._depth = depth
        self._history = _History(depth)

    def propose(self, theta: Floats, image: Floats) -> Floats | None:
        """Return the accelerated point; None while there is no history."""
        residual = image - theta
        self._history.add(theta, residual)
        if not len(self._history):
            return None
        self.rate = self._history.slowest_rate()
        changes = self._history.changes
        gamma = np.linalg.lstsq(changes.T, residual, rcond=DEPENDENT)[0]
        proposal: Floats = image - gamma @ (self._history.steps + changes)
        return proposal

    def restart(self) -> None:
        """Forget the history."""
        self._history = _History(self._depth)


class Squarem:
    """Squared extrapolation, scheme S3 (Varadhan & Roland 2008).

    A cycle is three evaluations: ``theta`` and its image ``theta + r``, whose own step is
    ``r + v``, give the point ``theta + 2 a r + a^2 v`` with ``a = |r| / |v|``; its image, a plain
    step that settles what the leap has stirred up, begins the next cycle.
    """

    def __init__(self) -> None:
        self.rate = np.nan
        self._history = _History(DEPTH)
        self._begin: tuple[Floats, Floats] | None = None
        self._leapt = False

    def propose(self, theta: Floats, image: Floats) -> Floats | None:
        """Return the leap at the second point of a cycle, None at the others."""
        residual = image - theta
        self._history.add(theta, residual)
        if len(self._history):
            self.rate = self._history.slowest_rate()
        if self._leapt:
            self._leapt = False
            return None
        if self._begin is None:
            self._begin = theta, residual
            return None
        (begin, r), self._begin = self._begin, None
        v = residual - r
        stride, bend = np.linalg.norm(r), np.linalg.norm(v)
        if not DEPENDENT * stride < bend < stride:
            return None
        length = stride / bend
        self._leapt = True
        proposal: Floats = begin + 2 * length * r + length**2 * v
        return proposal

    def restart(self) -> None:
        """Begin a new cycle."""
        self._history = _History(DEPTH)
        self._begin = None
        self._leapt = False


METHODS: dict[str, type[Plain] | type[Anderson] | type[Squarem]] = {
    "anderson": Anderson,
    "squarem": Squarem,
    "none": Plain,
}


def _ratio(new: np.floating, old: np.floating) -> float:
    return float(min(new / old, np.nextafter(1.0, 0.0))) if old > 0 else 0.0
