"""What is told of a run while it goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute import fit_gaussian
from em_impute.gaussian import Iteration
from em_impute.job import FileSource
from em_impute.tables import progress, sources
from em_impute.tables.snapshot import read_batches


class Heard(progress.Listener):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.rows: list[tuple[int, float | None]] = []
        self.shares: list[float] = []

    def step_began(self, step: str) -> None:
        self.steps.append(f"{step} began")

    def step_ended(self, step: str, error: BaseException | None) -> None:
        self.steps.append(f"{step} ended by {error!r}")

    def rows_passed(self, rows: int, share: float | None) -> None:
        self.rows.append((rows, share))

    def iterated(self, iteration: Iteration, share: float) -> None:
        self.shares.append(share)


def test_steps_tell_how_they_end() -> None:
    heard = Heard()
    with progress.heard_by(heard):
        with progress.step("load"):
            pass
        with pytest.raises(OSError, match="gone"), progress.step("fit"):
            raise OSError("gone")
    with progress.step("nobody listens"):
        pass
    assert heard.steps == [
        "load began",
        "load ended by None",
        "fit began",
        "fit ended by OSError('gone')",
    ]


def test_rows_are_counted_as_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x\n" + "1\n" * 10)
    heard = Heard()
    with progress.heard_by(heard):
        source = FileSource(path=str(tmp_path / "in.csv"))
        snapshot = sources.take_snapshot(source, tmp_path / "snapshot.arrow", batch_rows=4)
        assert heard.rows == [(4, None), (8, None), (10, None)]
        assert sum(batch.num_rows for batch in read_batches(snapshot.path)) == 10
    assert heard.rows[3:] == [(4, 1 / 3), (8, 2 / 3), (10, 1.0)]


def test_em_comes_nearer_until_it_is_there() -> None:
    heard = Heard()
    X = factor_table(300, 6, 0.5, seed=1)
    with progress.heard_by(heard):
        fit_gaussian(X, tol=1e-6, on_iteration=progress.iterations(1e-6))
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[0] == 0.0
    assert heard.shares[-1] == 1.0
    assert len(set(heard.shares)) > 5


def test_a_fit_that_starts_anew_with_a_prior_starts_at_0() -> None:
    heard = Heard()
    X = factor_table(200, 4, 0.2, seed=1)
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    with progress.heard_by(heard):
        result = fit_gaussian(X, prior_rows="auto", on_iteration=progress.iterations(1e-6))
    assert result.prior_rows > 0
    first, last = heard.shares.index(0.0), len(heard.shares) - heard.shares[::-1].index(0.0) - 1
    assert first == 0 < last
    assert heard.shares[-1] == 1.0
