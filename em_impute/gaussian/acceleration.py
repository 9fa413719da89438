"""Methods that speed up a fixed-point iteration ``theta <- G(theta)``: Anderson's, SQUAREM, none.

A method sees points and their images and proposes where to evaluate G next. It also estimates the
slowest rate of the plain iteration (the largest eigenvalue of the Jacobian of G), from which the
distance that is left can be judged. `scoring` has a further method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import lapack

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.parameters import Parameters, Point

DEPTH = 10
# Differences that are this dependent on the others say nothing but rounding.
DEPENDENT = 1e-10
BELOW_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class Proposal:
    """Where a method would go.

    Attributes
    ----------
    image : tuple of ndarray
        What the map that the method speeds up makes of the point.
    position : ndarray of shape (d,) or None
        Where to evaluate next; None for the image under EM.
    """

    image: Parameters
    position: Floats | None = None


class Method(Protocol):
    """What the loop of EM asks of a method."""

    def propose(self, point: Point) -> Proposal:
        """Where to evaluate next."""

    def rate(self) -> float:
        """Estimate of the plain iteration's rate, in [0, 1); NaN while unknown."""

    def restart(self) -> None:
        """Forget the history: the last proposal led nowhere."""


class Plain:
    """No acceleration: the image is the next point."""

    def __init__(self) -> None:
        self._rate = np.nan
        self._residual: Floats | None = None

    def propose(self, point: Point) -> Proposal:
        """The image, always; the rate is learnt from the shrinking of the steps."""
        if point.image_position is not None:
            residual = point.image_position - point.position
            if self._residual is not None:
                self._rate = _ratio(np.linalg.norm(residual), np.linalg.norm(self._residual))
            self._residual = residual
        return Proposal(point.image)

    def rate(self) -> float:
        """How much the last step was shorter than the one before it."""
        return self._rate

    def restart(self) -> None:
        """Nothing to forget."""


class _History:
    """Differences between the last points that a method has seen, and what they show of G."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._rate = np.nan
        self.forget()

    def forget(self) -> None:
        """Begin anew, but for the rate, which stays known until there are differences again."""
        self._seen = 0
        self._last: tuple[Floats, Floats] | None = None

    def __len__(self) -> int:
        return min(self._seen, self._depth)

    def add(self, theta: Floats, residual: Floats) -> None:
        """Take in a point and ``F = G(theta) - theta`` there."""
        if self._last is None:
            self._steps, self._changes = np.empty((2, self._depth, len(theta)))
        else:
            oldest = self._seen % self._depth
            np.subtract(theta, self._last[0], out=self._steps[oldest])
            np.subtract(residual, self._last[1], out=self._changes[oldest])
            self._seen += 1
        self._last = (theta, residual)

    @property
    def steps(self) -> Floats:
        """Differences of the points (k, d), in no particular order."""
        return self._steps[: len(self)]

    @property
    def changes(self) -> Floats:
        """Differences of their residuals (k, d), in the same order."""
        return self._changes[: len(self)]

    def rate(self) -> float:
        """Largest eigenvalue of the Jacobian of G, seen from the space of the steps."""
        if len(self):
            steps = self.steps
            squares, mixing, _ = lapack.dsyevd(steps @ steps.T)
            kept = squares > 1e-12 * squares[-1]
            basis = mixing[:, kept] / np.sqrt(squares[kept])
            # The Jacobian moves a step by the step itself and the change of the residual.
            real = lapack.dgeev(basis.T @ (steps @ self.changes.T) @ basis, 0, 0)[0]
            self._rate = min(max(1.0 + real.max(initial=-1.0), 0.0), BELOW_ONE)
        return self._rate


class Anderson:
    """Anderson acceleration (Walker & Ni 2011; Henderson & Varadhan 2019).

    With ``F = G(theta) - theta`` and `dTheta`, `dF` the differences between the last `depth`
    points, the next point is ``G(theta) - (dTheta + dF) gamma``, `gamma` minimising
    ``|F - dF gamma|``.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self._history = _History(depth)

    def propose(self, point: Point) -> Proposal:
        """The accelerated point; the image while there is no history."""
        if point.image_position is None:
            return Proposal(point.image)
        return Proposal(point.image, self.beyond(point.position, point.image_position))

    def beyond(self, position: Floats, image: Floats) -> Floats | None:
        """The accelerated position, of one and what the map makes of it; None without history.

        Parameters
        ----------
        position, image : ndarray of shape (d,)
        """
        residual = image - position
        self._history.add(position, residual)
        if not len(self._history):
            return None
        steps, changes = self._history.steps, self._history.changes
        gamma = _least_squares(changes.T, residual)
        accelerated: Floats = image - gamma @ steps - gamma @ changes
        return accelerated

    def rate(self) -> float:
        """The rate that the history shows."""
        return self._history.rate()

    def restart(self) -> None:
        """Begin a new history."""
        self._history.forget()


class Squarem:
    """Squared extrapolation, scheme S3 (Varadhan & Roland 2008).

    A cycle is three evaluations: ``theta`` and its image ``theta + r``, whose own step is
    ``r + v``, give the point ``theta + 2 a r + a^2 v`` with ``a = |r| / |v|``; its image, a plain
    step that settles what the leap has stirred up, begins the next cycle.
    """

    def __init__(self) -> None:
        self._history = _History(DEPTH)
        self._begin: tuple[Floats, Floats] | None = None
        self._leapt = False

    def propose(self, point: Point) -> Proposal:
        """The leap at the second point of a cycle, the image at the others."""
        plain = Proposal(point.image)
        if point.image_position is None:
            return plain
        residual = point.image_position - point.position
        self._history.add(point.position, residual)
        if self._leapt:
            self._leapt = False
            return plain
        if self._begin is None:
            self._begin = point.position, residual
            return plain
        (begin, r), self._begin = self._begin, None
        v = residual - r
        stride, bend = np.linalg.norm(r), np.linalg.norm(v)
        # Elsewhere the leap would be shorter than plain EM's steps, or go anywhere.
        if not DEPENDENT * stride < bend < stride:
            return plain
        length = stride / bend
        self._leapt = True
        return Proposal(point.image, begin + 2 * length * r + length**2 * v)

    def rate(self) -> float:
        """The rate that the history shows."""
        return self._history.rate()

    def restart(self) -> None:
        """Begin a new cycle."""
        self._history.forget()
        self._begin = None
        self._leapt = False


METHODS: dict[str, Callable[[], Method]] = {
    "anderson": Anderson,
    "squarem": Squarem,
    "none": Plain,
}


def _ratio(new: np.floating, old: np.floating) -> float:
    return min(float(new / old), BELOW_ONE) if old > 0 else 0.0


def _least_squares(A: Floats, b: Floats) -> Floats:
    """The `x` (k,) that brings ``A x`` nearest to `b` (d,); the shortest where A is deficient."""
    d, k = A.shape
    right = np.zeros((max(d, k), 1))
    right[:d, 0] = b
    # NumPy's own call is by singular values, and takes four times as long for so few columns.
    _, x, *_ = lapack.dgelsy(A, right, np.zeros(k, dtype=np.int32), DEPENDENT, 34 * k + 64)
    solution: Floats = x[:k, 0]
    return solution
