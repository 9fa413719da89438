"""Batches of work over the cores, with BLAS kept to one thread so that the two do not fight."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from numbers import Integral
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

# Below this many numbers in all, threads cost more than they gain.
WORTH_THREADS = 2**18

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread inside: its own threads cost more than small products gain.

    And its last bits depend on how many there are, so whatever calls it is inside. It decorates
    functions, too.

    The limit holds for the process. The first to ask sets it and the last to leave lifts it, in
    whichever threads they are.
    """
    with _limit_lock:
        _limit.enter()
    try:
        yield
    finally:
        with _limit_lock:
            _limit.leave()


class _Limit:
    """How many want BLAS to keep to one thread."""

    def __init__(self) -> None:
        self._inside = 0
        self._until_lifted = ExitStack()

    def enter(self) -> None:
        if not self._inside:
            self._until_lifted.enter_context(_controller().limit(limits=1, user_api="blas"))
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._until_lifted.close()


_limit, _limit_lock = _Limit(), Lock()


def spread(function: Callable[[Item], Result], items: Sequence[Item], numbers: int) -> list[Result]:
    """``[function(item) for item in items]``, shared over the cores; in the order of the items.

    Parameters
    ----------
    function : callable
    items : sequence
    numbers : int
        How many numbers are worked on in all: few of them are not worth threads.
    """
    threads = int(min(_cores(), _most.get(), len(items)))
    if threads < 2 or numbers < WORTH_THREADS:
        return [function(item) for item in items]
    return list(_pool(os.getpid(), threads).map(function, items))


@contextmanager
def at_most(n_jobs: int) -> Iterator[None]:
    """Use no more than `n_jobs` threads inside; -1 stands for all cores, -2 for all but one.

    Raises
    ------
    ValueError
        If `n_jobs` is 0, or no whole number.
    """
    if not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise ValueError(
            "n_jobs must be a number of threads, or -1 for one on each core, -2 for all cores but "
            f"one and so on; got {n_jobs!r}."
        )
    before = _most.set(n_jobs if n_jobs > 0 else max(1, _cores() + 1 + n_jobs))
    try:
        yield
    finally:
        _most.reset(before)


_most: ContextVar[float] = ContextVar("most threads", default=math.inf)


@cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds, so it is done once.
    return ThreadpoolController()


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    # One for each process: threads do not survive a fork.
    return ThreadPoolExecutor(threads, thread_name_prefix="em_impute")
