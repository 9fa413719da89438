"""Threads change nothing: the same bits on one core and on many."""

from __future__ import annotations

import os
import subprocess
import sys
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


EVERYTHING = """
import hashlib, warnings
import numpy as np
from em_impute import EMImputer, PatternSummary, fit_gaussian, little_mcar_test
from em_impute.gaussian.conditional import conditional_cells

def show(name, *arrays):
    parts = (np.ascontiguousarray(array).tobytes() for array in arrays)
    print(name, hashlib.sha256(b"".join(parts)).hexdigest())

warnings.simplefilter("ignore")
for n, p in ((3000, 260), (90, 120)):
    rng = np.random.default_rng(p)
    # einsum, not BLAS: the table itself must not hang on threads
    X = np.einsum("ij,jk", rng.normal(size=(n, p // 3)), rng.normal(size=(p // 3, p)))
    X += rng.normal(size=X.shape)
    X[rng.random(X.shape) < 0.02] = np.nan
    half = n // 2
    summary = PatternSummary.from_array(X)
    unmoved = np.zeros(p), np.ones(p)
    show("summary", *summary.weighted_rows(*unmoved), *summary.observed_moments())
    show("means", summary.means_of(np.arange(len(summary.counts))))
    both = PatternSummary.from_array(X[:half]) + PatternSummary.from_array(X[half:])
    show("sum", *both.weighted_rows(*unmoved))
    result = fit_gaussian(summary, prior_rows="auto", max_iter=4)
    show("model", result.model.mean, result.model.covariance, [result.loglik])
    show("information", [result.worst_fraction])
    print(result.message, result.decisions)
    some, model = X[np.isnan(X).any(axis=1)][:40], result.model
    given = model.conditional(some)
    show("conditional", given.mean, given.sd, model.impute(some))
    show("draw", model.draw(some, seed=1))
    cells = np.isnan(some).argmax(axis=1)[:, None]
    show("cells", *conditional_cells(some, cells, model.mean, model.covariance))
    if n > p:
        few = PatternSummary.from_array(X[:, :40])
        show("little", [little_mcar_test(few, fit_gaussian(few).model).statistic])
show("imputer", EMImputer(sample=True, random_state=1).fit_transform(X[:, :60]))
"""


def test_the_threads_of_blas_do_not_change_a_bit() -> None:
    answers = []
    for count in ("1", "4"):
        there = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), count)
        command = [sys.executable, "-c", EVERYTHING]
        done = subprocess.run(command, env=there, check=True, capture_output=True, text=True)
        answers.append(done.stdout.splitlines())
    assert answers[0] == answers[1]
