"""A table with columns of every kind, what jobs make of it, and whether tables are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    """Texts and whole numbers are equal, others to 1e-9."""
    assert found.column_names == expected.column_names
    for name in expected.column_names:
        mine, theirs = found[name], expected[name]
        if pa.types.is_floating(theirs.type) or pa.types.is_decimal(theirs.type):
            numbers = (
                pc.cast(cells, pa.float64(), safe=False).to_numpy() for cells in (mine, theirs)
            )
            narrow = theirs.type == pa.float32()
            np.testing.assert_allclose(*numbers, rtol=1e-6 if narrow else 1e-9, err_msg=name)
        else:
            assert mine.to_pylist() == theirs.to_pylist(), name


def rows_of_every_kind(n: int = 300) -> pa.Table:
    """Correlated columns of all types and transforms, each with holes, by a fixed seed."""
    rng = np.random.default_rng(11)
    common = rng.normal(size=n)

    def mixed(scale: float) -> np.ndarray:
        return scale * (common + 0.7 * rng.normal(size=n))

    def holed(cells: np.ndarray, type_: pa.DataType) -> pa.Array:
        missing = rng.random(n) < 0.15
        return pa.array(cells, mask=missing).cast(type_, safe=False)

    grade = np.array(["low", "mid", "high"])[np.digitize(mixed(1), [-0.6, 0.8])]
    kind = np.array(["a'b", "{{ c }}", "d"])[np.digitize(mixed(1), [-0.4, 0.4])]
    days = np.datetime64("2026-01-01") + (100 + mixed(20)).astype(int).astype("timedelta64[D]")
    moments = np.datetime64("2026-01-01T00:00:00", "us") + mixed(1e12).astype("timedelta64[us]")
    return pa.table(
        {
            'say "hi"': holed(mixed(3) + 1e6, pa.float64()),
            "narrow": holed(mixed(2), pa.float32()),
            "log": holed(np.exp(mixed(1)), pa.float64()),
            "log1p": holed(np.expm1(np.abs(mixed(1))), pa.float64()),
            "sqrt": holed(mixed(1) ** 2, pa.float64()),
            "cbrt": holed(mixed(2) ** 3, pa.float64()),
            "percent": holed(100 / (1 + np.exp(mixed(1))), pa.float64()),
            "count": holed(np.clip(np.rint(mixed(2) + 3), 0, None), pa.int16()),
            "whole": holed(np.rint(mixed(900)), pa.int64()),
            "money": holed(np.round(mixed(50), 2), pa.decimal128(9, 2)),
            "bounded": holed(np.clip(mixed(1), -1, 1.5), pa.float64()),
            "narrow bounded": holed(np.clip(mixed(1), -0.1, 0.3), pa.float32()),
            "kind": holed(kind, pa.string()),
            "grade": holed(grade, pa.string()),
            "true": holed(mixed(1) > 0, pa.bool_()),
            "day": holed(days, pa.date32()),
            "moment": pa.array(moments, pa.timestamp("us", "UTC")),
            "constant": holed(np.full(n, 7.0), pa.float64()),
            "note": pa.array([f"row {i}" for i in range(n)]),
        }
    )


TRANSFORMED: dict[str, Any] = {
    "impute": ['say "hi"', "log", "log1p", "sqrt", "cbrt", "percent", "constant", "bounded"],
    "predictors": ["moment"],
    "transform": {
        **{name: name for name in ("log", "log1p", "sqrt", "cbrt")},
        "percent": {"logit": [0, 100]},
    },
    "bounds": {"bounded": [-1, 1.5], "log": [0.05, 30], "constant": [0, None]},
}
JOBS: dict[str, dict[str, Any]] = {
    "transformed": TRANSFORMED,
    "transformed to means": TRANSFORMED | {"back_transform": "mean"},
    "of other types": {
        "impute": ["narrow", "count", "whole", "money", "narrow bounded", "kind", "grade", "true"],
        "predictors": ["day"],
        "bounds": {"count": [0, None], "narrow bounded": [-0.1, 0.3]},
        "round": ["count"],
        "categories": {"kind": "nominal", "grade": ["low", "mid", "high"]},
    },
}
