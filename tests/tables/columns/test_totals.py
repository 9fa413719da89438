"""A job whose columns determine each other: totals add up and twins are alike in what it fills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from em_impute.job import Job
from em_impute.tables import sources, summarise
from em_impute.tables.columns import roles as columns
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import open_run_folder

PARTS = ["north", "south", "west"]


def sales() -> pd.DataFrame:
    """Counts with their total, and a category under two names."""
    rng = np.random.default_rng(15)
    frame = pd.DataFrame(rng.poisson(40, size=(1200, 3)).astype(float), columns=PARTS)
    frame["total"] = frame[PARTS].sum(axis=1)
    frame["kind"] = rng.choice(["x", "y", "z"], len(frame))
    frame["type"] = frame["kind"]
    frame["price"] = frame["total"] / 10 + rng.normal(size=len(frame))
    return frame


@pytest.mark.parametrize("method", ["mean", "draw"])
@pytest.mark.parametrize("bounds", [{}, {name: [0, None] for name in [*PARTS, "total"]}])
def test_totals_add_up_in_the_table_of_a_job(
    method: str, bounds: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = sales()
    holed = whole.mask(np.random.default_rng(16).random(whole.shape) < 0.1)
    holed.to_parquet("sales.parquet")
    job = Job.model_validate(
        {
            "name": "sales",
            "source": {"path": "sales.parquet"},
            "columns": {"categories": dict.fromkeys(["kind", "type"], "nominal"), "bounds": bounds},
            "imputation": {"method": method},
            "target": {"path": "out/sales.parquet"},
        }
    )
    folder = open_run_folder(Path("runs"), "sales", "run-1")
    snapshot = sources.take_snapshot(job.source, folder.snapshot)
    roles = columns.assign_roles(snapshot, job)
    result = summarise.fit_model(summarise.summarise(snapshot, roles), job.model)
    assert any(
        said.startswith("'total' = 'north' + 'south' + 'west' in each") for said in result.decisions
    )
    staged = fill(snapshot, result.model, roles, job.target, folder, job.imputation)
    filled = pd.read_parquet(staged.path)
    np.testing.assert_allclose(filled[PARTS].sum(axis=1), filled["total"], rtol=1e-8)
    assert (filled["kind"] == filled["type"]).all()
    one = holed.isna().sum(axis=1) == 1
    known = [*PARTS, "total", "kind", "type"]
    rounded = filled.loc[one, known].round(6)
    pd.testing.assert_frame_equal(rounded, whole.loc[one, known])
    sd = pd.read_parquet(staged.ledger).set_index("column")["sd"]
    assert (sd["total"] == 0).sum() > 50
