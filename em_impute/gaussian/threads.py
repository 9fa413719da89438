"""Batches of work over the cores, with BLAS kept to one thread so that the two do not fight."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread inside: its own threads cost more than small products gain.

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


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``[function(item) for item in items]``, shared over the cores; in the order of the items."""
    if len(items) < 2 or _cores() < 2:
        return [function(item) for item in items]
    return list(_pool(os.getpid()).map(function, items))


@cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds, so it is done once.
    return ThreadpoolController()


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(_process: int) -> ThreadPoolExecutor:
    # One for each process: threads do not survive a fork.
    return ThreadPoolExecutor(_cores(), thread_name_prefix="em_impute")
