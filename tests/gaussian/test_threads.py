"""Threads change nothing: the same bits on one core and on many."""

from __future__ import annotations

from threading import Barrier, current_thread
from typing import Any

import numpy as np
import pytest
from holed_tables import factor_table
from threadpoolctl import threadpool_info, threadpool_limits

from em_impute.gaussian import PatternSummary, fit_gaussian, threads

MANY = threads.WORTH_THREADS


def test_one_core_and_many_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    X = factor_table(20_000, 12, 0.1, seed=1)
    answers = []
    for cores in (1, 3):
        monkeypatch.setattr(threads, "_cores", lambda cores=cores: cores)
        threads._pool.cache_clear()
        summary = PatternSummary.from_array(X)
        result = fit_gaussian(summary, max_iter=50)
        answers.append((result.loglik, result.model.covariance.tobytes()))
    assert answers[0] == answers[1]


def test_results_come_in_the_order_of_the_items() -> None:
    squares = threads.spread(lambda i: i * i, list(range(50)), MANY)
    assert squares == [i * i for i in range(50)]


def test_an_error_in_a_thread_is_the_callers() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        threads.spread(np.linalg.cholesky, [np.eye(2), -np.eye(2), np.eye(2)], MANY)


def test_blas_keeps_to_one_thread_until_the_last_has_left() -> None:
    def in_use() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        first, second = threads.one_blas_thread(), threads.one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert in_use() == {1}
        second.__exit__(None, None, None)
        assert in_use() == {2}


@pytest.mark.parametrize(("n_jobs", "expected"), [(1, 1), (2, 2), (-1, 4), (-2, 3), (-9, 1)])
def test_n_jobs_is_the_most_threads_at_a_time(
    n_jobs: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: 4)
    together = Barrier(expected, timeout=20)
    with threads.at_most(n_jobs):
        names = threads.spread(lambda _: together.wait() * 0 or current_thread(), range(12), MANY)
    assert len(set(names)) == expected


@pytest.mark.parametrize("n_jobs", [0, 1.5, "all"])
def test_n_jobs_that_is_none_is_an_error(n_jobs: Any) -> None:
    with pytest.raises(ValueError, match="n_jobs must be a number of threads, or -1"):
        fit_gaussian(np.eye(3), n_jobs=n_jobs)
