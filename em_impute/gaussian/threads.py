"""Batches of work over the cores, with BLAS kept to one thread so that the two do not fight."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread inside: its own threads cost more than small products gain."""
    return _controller().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


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
