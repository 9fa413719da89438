"""The ledger of a batch, cell by cell."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from em_impute.tables.columns.roles import Roles
from em_impute.tables.ledger import ImputedCells, ledger_rows, ledger_schema
from em_impute.tables.run_folder import RunFolder

NAMES = ("a", "b", "c")
ROLES = Roles(("id", *NAMES), key=("id",), impute=("c", "a"), predictors=("b",))
SCHEMA = pa.schema([("id", pa.string()), *((name, pa.float64()) for name in NAMES)])
LEDGER = pa.schema(
    {
        "row": pa.int64(),
        "id": pa.string(),
        "column": pa.dictionary(pa.int32(), pa.string()),
        "value": pa.float64(),
        "level": pa.string(),
        "sd": pa.float64(),
        "pattern": pa.string(),
        "imputation": pa.int32(),
    }
)


def imputed(rows: list[int], value: float) -> ImputedCells:
    n = len(rows)
    return ImputedCells(
        np.array(rows, dtype=np.int64), np.full(n, value), np.full(n, 0.5), pa.nulls(n, pa.string())
    )


def schema_of(folder: RunFolder, roles: Roles = ROLES, filled: pa.Schema = SCHEMA) -> pa.Schema:
    return ledger_schema(filled, roles, folder, {})


def in_hexadecimal(missing: list[bool]) -> str:
    """The first column is the highest bit of the first byte."""
    bits = "".join("01"[cell] for cell in missing)
    return f"{int(bits.ljust(-(-len(bits) // 8) * 8, '0'), 2):02x}"


@given(
    holes=st.lists(st.tuples(*[st.booleans()] * 3), max_size=6),
    first_row=st.integers(1, 99),
    imputation=st.integers(1, 9),
)
def test_every_imputed_cell_has_a_row_in_the_order_of_the_table(
    holes: list[tuple[bool, ...]], first_row: int, imputation: int
) -> None:
    columns = {
        name: pa.array([None if hole[j] else 1.0 for hole in holes], pa.float64())
        for j, name in enumerate(NAMES)
    }
    keys = pa.array([f"r{i}" for i in range(len(holes))], pa.string())
    batch = pa.record_batch({"id": keys, **columns}, SCHEMA)
    cells = [
        imputed([i for i, hole in enumerate(holes) if hole[j]], value)
        for j, value in ((2, 3.0), (0, 1.0))
    ]
    expected: list[dict[str, Any]] = [
        {"row": first_row + i, "id": f"r{i}", "column": name, "value": value, "level": None}
        | {"sd": 0.5, "pattern": in_hexadecimal(list(hole)), "imputation": imputation}
        for i, hole in enumerate(holes)
        for name, j, value in (("c", 2, 3.0), ("a", 0, 1.0))
        if hole[j]
    ]
    assert ledger_rows(batch, cells, ROLES, first_row, imputation, LEDGER).to_pylist() == expected


def test_levels_stand_beside_numbers(folder: RunFolder) -> None:
    batch = pa.record_batch({"id": ["r"], "a": [None], "b": [1.0], "c": [None]}, SCHEMA)
    level = ImputedCells(
        np.array([0]), np.array([np.nan]), np.array([np.nan]), pa.array(["low"], pa.string())
    )
    found = ledger_rows(batch, [level, imputed([0], 2.0)], ROLES, 1, 1, schema_of(folder))
    assert found["level"].to_pylist() == ["low", None]
    assert found["value"].to_pylist() == [None, 2.0]
    assert found["sd"].to_pylist() == [None, 0.5]


def test_key_columns_may_be_called_like_those_of_the_ledger(folder: RunFolder) -> None:
    filled = pa.schema([("row", pa.string()), ("value", pa.int64()), ("x", pa.float64())])
    roles = Roles(("row", "value", "x"), key=("row", "value"), impute=("x",), predictors=())
    batch = pa.record_batch({"row": ["r1", "r2"], "value": [7, 8], "x": [None, 1.0]}, filled)
    found = ledger_rows(batch, [imputed([0], 0.5)], roles, 1, 1, schema_of(folder, roles, filled))
    assert found.to_pylist() == [
        {"row": 1, "key.row": "r1", "key.value": 7, "column": "x", "value": 0.5, "level": None}
        | {"sd": 0.5, "pattern": "80", "imputation": 1}
    ]


def test_the_ledger_names_its_run_and_model(folder: RunFolder) -> None:
    assert schema_of(folder).equals(LEDGER)
    assert schema_of(folder).metadata == {b"em_impute.run": b"run-1", b"em_impute.model": b""}
    folder.model.write_bytes(b"a model")
    expected = hashlib.sha256(b"a model").hexdigest()
    assert schema_of(folder).metadata[b"em_impute.model"].decode() == expected
