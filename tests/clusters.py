"""The examples of docs/clusters.md in a real local Spark and Ray: `make test-clusters`.

Not one of the tests of `make test`: these programs take half a gigabyte and a minute to start.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from em_impute import GaussianModel, fit_gaussian

ROOT = Path(__file__).parents[1]
SPARK, RAY = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/clusters.md").read_text(), re.MULTILINE | re.DOTALL
)
AIR = pd.read_csv(ROOT / "data/airquality.csv")
DAY = ["Month", "Day"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)


def in_order(filled: pd.DataFrame, columns: list[str]) -> np.ndarray[Any, Any]:
    """The filled columns in the order of the days: partitions come back in another one."""
    return AIR[DAY].merge(filled, on=DAY)[columns].to_numpy(float)


def alone(columns: list[str]) -> tuple[pd.DataFrame, GaussianModel]:
    """The table as one, and the model that is fitted to it here."""
    air = AIR.rename(columns={"Solar.R": columns[1]})
    return air, fit_gaussian(air[columns]).model


def test_spark_fits_fills_and_draws_what_one_machine_does() -> None:
    example: dict[str, Any] = {}
    exec(SPARK, example)
    columns = example["columns"]
    air, model = alone(columns)
    np.testing.assert_allclose(example["model"].mean, model.mean, rtol=1e-8)
    np.testing.assert_allclose(example["model"].covariance, model.covariance, rtol=1e-8)
    for name, expected in (
        ("filled", example["model"].impute(air[columns])),
        ("drawn", example["model"].draw(air[columns], 1, air[DAY])),
    ):
        assert in_order(example[name].toPandas(), columns).tobytes() == expected.tobytes()
    example["spark"].stop()


def test_ray_fits_and_fills_what_one_machine_does() -> None:
    example: dict[str, Any] = {}
    exec(RAY, example)
    columns = example["columns"]
    air, model = alone(columns)
    np.testing.assert_allclose(example["model"].mean, model.mean, rtol=1e-8)
    expected = example["model"].impute(air[columns])
    assert in_order(example["filled"].to_pandas(), columns).tobytes() == expected.tobytes()
    example["ray"].shutdown()
