"""One seed, one meaning: a job, `GaussianModel.draw` and `EMImputer` draw the same cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from holed_tables import factor_table

from em_impute import EMImputer, GaussianModel, fit_gaussian
from em_impute.job import FileSource, FileTarget, Imputation
from em_impute.tables.columns.roles import Roles
from em_impute.tables.fill import fill
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.sources import take_snapshot

NAMES = ("a", "b", "c")
SEED = 7


def table() -> pd.DataFrame:
    """Rows with holes, and columns that can be their key."""
    n = 90
    frame = pd.DataFrame(factor_table(n, 3, 0.3, seed=23), columns=list(NAMES))
    frame["number"] = np.arange(n)[::-1] * 1000
    frame["name"] = [f"customer {i}" for i in range(n)]
    frame["store"] = np.arange(n) % 9
    frame["day"] = pd.Timestamp("2026-03-01") + pd.to_timedelta(np.arange(n) // 9, unit="D")
    return frame


def drawn_by_a_job(
    source: pa.Table, model: GaussianModel, key: tuple[str, ...], folder: Path
) -> np.ndarray:
    """What ``imputation: {method: draw, seed: 7}`` fills in, with batches of a few rows."""
    pq.write_table(source, folder / "source.parquet")
    run = RunFolder(folder / "run")
    run.path.mkdir()
    snapshot = take_snapshot(
        FileSource(path=str(folder / "source.parquet")), run.snapshot, batch_rows=37
    )
    roles = Roles(tuple(source.column_names), key=key, impute=NAMES, predictors=())
    target = FileTarget(path=str(folder / "target.parquet"))
    staged = fill(snapshot, model, roles, target, run, Imputation(method="draw", seed=SEED))
    return pq.read_table(staged.path).select(list(NAMES)).to_pandas().to_numpy()


@pytest.mark.parametrize(
    "key", [(), ("number",), ("name",), ("day", "store"), ("store", "name", "day")]
)
def test_a_job_draws_what_the_model_draws(key: tuple[str, ...], tmp_path: Path) -> None:
    frame = table()
    X = frame[list(NAMES)].to_numpy()
    model = fit_gaussian(frame[list(NAMES)].to_numpy()).model
    model = GaussianModel(model.mean, model.covariance, NAMES)
    keys = None if not key else frame[list(key)].itertuples(index=False, name=None)
    here = model.draw(X, seed=SEED, keys=None if keys is None else list(keys))
    there = drawn_by_a_job(pa.Table.from_pandas(frame), model, key, tmp_path)
    np.testing.assert_array_equal(there, here)


def test_days_in_a_job_may_be_dates_or_instants_of_any_zone(tmp_path: Path) -> None:
    frame = table()
    source = pa.Table.from_pandas(frame)
    model = GaussianModel(np.zeros(3), np.eye(3) + 0.5, NAMES)
    by_day = ("day", "store")
    drawn = []
    kinds = (pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ms", "Asia/Tokyo"))
    for i, kind in enumerate(kinds):
        at = source.column_names.index("day")
        days = source["day"].cast(pa.timestamp("ms")).cast(kind)
        folder = tmp_path / str(i)
        folder.mkdir()
        drawn.append(drawn_by_a_job(source.set_column(at, "day", days), model, by_day, folder))
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])


def test_the_imputers_random_state_is_that_seed(tmp_path: Path) -> None:
    frame = table()
    imputer = EMImputer(sample=True, random_state=SEED).fit(frame[list(NAMES)])
    assert imputer.seed_ == SEED
    here = imputer.transform(frame[list(NAMES)]).to_numpy()
    there = drawn_by_a_job(pa.Table.from_pandas(frame), imputer.result_.model, (), tmp_path)
    np.testing.assert_array_equal(there, here)
