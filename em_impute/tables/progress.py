"""What a run tells while it goes on, and who listens: the terminal, or an artifact in Prefect.

Steps, passes over rows and EM's iterations tell of themselves. The listeners stand in a context
variable, so that no function hands one on to the next; where nobody listens nothing happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from em_impute.gaussian import Iteration


class Listener:
    """Hears of a run; a subclass overrides what it wants to hear of."""

    def step_began(self, step: str) -> None:
        """A step of the flow begins, or is tried again."""

    def step_ended(self, step: str, error: BaseException | None) -> None:
        """It has ended, by `error` if that is not None."""

    def rows_passed(self, rows: int, share: float | None) -> None:
        """So many rows of a pass over the table are done, this share of all; None if unknown."""

    def reported(self, outcome: object) -> None:
        """The run has ended, and its report was left; `outcome` is how."""

    def iterated(self, iteration: Iteration, share: float) -> None:
        """EM has come this far on its way to the maximum: 0 at the start, 1 within `tol` of it."""


_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Have `listener` hear of what happens meanwhile."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tell that a step begins, and how it ends."""
    _tell("step_began", name)
    ended_by: BaseException | None = None
    try:
        yield
    except BaseException as error:
        ended_by = error
        raise
    finally:
        _tell("step_ended", name, ended_by)


def rows_passed(rows: int, share: float | None = None) -> None:
    """Tell that so many rows of a pass over the table are done, this share of all."""
    _tell("rows_passed", rows, share)


def reported(outcome: object) -> None:
    """Tell how the run has ended."""
    _tell("reported", outcome)


def _tell(what: str, *about: Any) -> None:
    """Tell all who listen; a run does not depend on being watched."""
    for listener in _listeners.get():
        with suppress(Exception):
            getattr(listener, what)(*about)


def iterations(tol: float) -> Callable[[Iteration], None]:
    """Return what tells of each iteration of a fit that is to come within `tol` of the maximum.

    How far EM has come is measured on the logarithm of the estimated distance, between the
    largest one seen and `tol`. It does not go back, unless the fit starts anew with a prior.
    """
    farthest, reached = tol, 0.0

    def tell(iteration: Iteration) -> None:
        nonlocal farthest, reached
        if iteration.number == 0:
            farthest, reached = tol, 0.0
        if math.isfinite(iteration.distance):
            farthest = max(farthest, iteration.distance)
            to_go = math.log(max(iteration.distance / tol, 1.0))
            reached = max(reached, 1.0 - to_go / math.log(max(farthest / tol, math.e)))
        _tell("iterated", iteration, reached)

    return tell


def in_words(iteration: Iteration) -> str:
    """Where EM is, in a sentence."""
    text = f"EM iteration {iteration.number}: log-likelihood {iteration.loglik:.6f}"
    if not math.isfinite(iteration.distance):
        return f"{text}."
    # Eigenvalues are those of one Gaussian.
    mixed = math.isnan(iteration.smallest_eigenvalue)
    what = "gain of the last step for each row" if mixed else "estimated distance to the maximum"
    return f"{text}, {what} {iteration.distance:.2g}."
