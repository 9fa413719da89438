"""The public calls at their defaults, by how the table lies in memory.

Each function measures and yields lines of a table for `run.py`: how many times as long a call takes
as with a C-contiguous array of the same cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.cases import Case, Floats, at_random
from benchmarks.scaling import timed
from em_impute import EMImputer, fit_gaussian

ROUNDS = 7
GOAL = 1.6
WHOLE = "array, row by row (C)"
HEAD = ["layout", "call", "seconds", "x C array", "goal"]


def by_layout(n: int, p: int) -> Iterator[list[object]]:
    """Time of each public call on one table in each layout, by turns."""
    _, holes = Case("layouts", "", n, p, at_random(0.1)).make()
    tables = layouts(holes)
    model = EMImputer().fit(holes).result_.model
    for call, function in calls(model).items():
        seconds: dict[str, list[float]] = {layout: [] for layout in tables}
        for _ in range(ROUNDS + 1):
            for layout, table in tables.items():
                seconds[layout].append(timed(lambda: function(table))[0])  # noqa: B023 - called now
        # The first round warms up.
        medians = {layout: median(times[1:]) for layout, times in seconds.items()}
        for layout, taken in medians.items():
            yield [layout, call, f"{taken:.3f}", f"{taken / medians[WHOLE]:.2f}", GOAL]


def layouts(X: Floats) -> dict[str, Any]:
    """The same cells as arrays and frames of every kind."""
    columns = pd.DataFrame({f"x{j}": X[:, j].copy() for j in range(X.shape[1])})
    tables: dict[str, Any] = {
        WHOLE: X,
        "array, column by column (Fortran)": np.asfortranarray(X),
        "array, every other row": np.repeat(X, 2, axis=0)[::2],
        "array, backwards": np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
        "DataFrame of one block": pd.DataFrame(np.asfortranarray(X)),
        "DataFrame of columns": columns,
        "DataFrame, Float64": columns.astype("Float64"),
        "DataFrame, Arrow": columns.astype("double[pyarrow]"),
    }
    if find_spec("polars"):
        import polars as pl

        tables["polars"] = pl.from_pandas(columns)
    return tables


def calls(model: Any) -> dict[str, Callable[[Any], Any]]:
    """What users call; engine and model take what NumPy can read."""
    fitted: dict[int, EMImputer] = {}

    def transform(table: Any) -> Any:
        if id(table) not in fitted:
            fitted[id(table)] = EMImputer().fit(table)
        return fitted[id(table)].transform(table)

    return {
        "EMImputer().fit": lambda table: EMImputer().fit(table),
        "EMImputer().transform": transform,
        "EMImputer().fit_transform": lambda table: EMImputer().fit_transform(table),
        "fit_gaussian": lambda table: fit_gaussian(_plain(table)),
        "model.impute": lambda table: model.impute(_plain(table)),
        "model.draw": lambda table: model.draw(_plain(table), seed=1),
    }


def _plain(table: Any) -> Any:
    """The table itself; as an array where pandas' own missing values would stop NumPy."""
    if isinstance(table, pd.DataFrame):
        return table.to_numpy(np.float64, na_value=np.nan)
    return table
