"""A snapshot is summed up as the array that it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from holed_tables import factor_table

from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.job import BATCH_ROWS, ModelOptions
from em_impute.tables.columns.roles import Roles
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.summarise import fit_model, summarise

Take = Callable[..., Snapshot]


def test_summary_of_a_snapshot_is_that_of_its_array(take_table: Take) -> None:
    """Over more batches than one, and with the columns in the order of the table."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(BATCH_ROWS + 100, 3))
    X[rng.random(X.shape) < 0.2] = np.nan
    table = pa.table({"text": ["t"] * len(X), "b": X[:, 1], "a": X[:, 0], "c": X[:, 2]})
    roles = Roles(("text", "b", "a", "c"), key=(), impute=("a", "b", "c"), predictors=())
    summary = summarise(take_table(table), roles)
    whole = PatternSummary.from_array(X[:, [1, 0, 2]], columns=["b", "a", "c"])
    assert summary.columns == whole.columns
    np.testing.assert_array_equal(summary.observed_counts, whole.observed_counts)
    np.testing.assert_allclose(summary.observed_mean, whole.observed_mean, atol=1e-12)
    np.testing.assert_allclose(summary.observed_sd, whole.observed_sd, rtol=1e-12)


@pytest.mark.parametrize("cells", [1, 2**22])
def test_batches_that_are_put_together_or_not_give_the_same(
    take_table: Take, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr("em_impute.tables.summarise.GATHERED_CELLS", cells)
    a = np.arange(3.0 * BATCH_ROWS)
    table = take_table(pa.table({"a": a, "b": a[::-1]}))
    summary = summarise(table, Roles(("a", "b"), (), ("a", "b"), ()))
    assert summary.n_rows == len(a)
    np.testing.assert_allclose(summary.observed_mean, a.mean(), rtol=1e-13)
    np.testing.assert_allclose(summary.observed_sd, a.std(), rtol=1e-13)


def test_snapshot_of_no_rows(take_csv: Take) -> None:
    assert summarise(take_csv("a,b\n"), Roles(("a", "b"), (), ("a",), ())).n_rows == 0


class Killed(Exception):
    """What stops a fit in its middle."""


def test_an_interrupted_fit_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("em_impute.gaussian.fit.CHECKPOINT_SECONDS", 0.0)
    summary, kept = PatternSummary.from_array(factor_table(400, 8, 0.5, seed=70)), tmp_path / "c"
    whole = fit_model(summary, ModelOptions())

    def killed_at(number: int) -> None:
        if number == whole.n_iter - 2:
            raise Killed

    with pytest.raises(Killed):
        fit_model(summary, ModelOptions(), lambda at: killed_at(at.number), kept)
    GaussianModel.load(kept)
    resumed = fit_model(summary, ModelOptions(), checkpoint=kept)
    assert resumed.n_iter < whole.n_iter / 2
    assert resumed.loglik == pytest.approx(whole.loglik, abs=1e-8)
    assert not kept.exists()


@pytest.mark.parametrize("content", ["", "{}", "other columns"])
def test_a_checkpoint_of_something_else_is_passed_over(tmp_path: Path, content: str) -> None:
    summary, kept = PatternSummary.from_array(factor_table(50, 2, 0.2, seed=1)), tmp_path / "c"
    kept.write_text(content)
    if content == "other columns":
        GaussianModel(np.zeros(2), np.eye(2), ("a", "b")).save(kept)
    assert fit_model(summary, ModelOptions(), checkpoint=kept).converged
