"""Cells that do not fit what the job says of their column, and keys that identify no row."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from em_impute.job import Job
from em_impute.tables.columns import misfits
from em_impute.tables.columns.misfits import Misfits, find_misfits
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


MakeJob = Callable[..., Job]


TABLE = "x,y,s,k\n1,5,a,1\n0,,b,2\n-3,7,a,3\n,9,,4\n"


def test_cells_that_do_not_fit_are_counted(take_csv: Take, job: MakeJob) -> None:
    said = job(transform={"x": "log"}, bounds={"y": [6, 8]}, bounds_violated="keep")
    snapshot = take_csv(TABLE)
    assert find_misfits(snapshot, assign_roles(snapshot, said), said.columns) == (
        Misfits("x", "x above 0, as log needs it", 2, (2, 3), stop=True),
        Misfits("y", "observed y between 6 and 8", 2, (1, 4), stop=False),
    )


@pytest.mark.parametrize("most_at_once", [1, 2**22])
def test_keys_that_tell_no_row(
    take_table: Take, job: MakeJob, monkeypatch: pytest.MonkeyPatch, most_at_once: int
) -> None:
    monkeypatch.setattr(misfits, "MOST_KEYS", most_at_once)
    said = job(key=["k", "l"], impute=["x"])
    table = pa.table({"k": ["a", "b", "a", None, "a"], "l": [1, 1, 1, 2, 1], "x": [1.0] * 5})
    snapshot = take_table(table)
    assert find_misfits(snapshot, assign_roles(snapshot, said), said.columns) == (
        Misfits("k, l", "key k, l in every row", 1, (4,), stop=True),
        Misfits("k, l", "key k, l unique", 2, (3, 5), stop=True),
    )
    unique = take_table(table.slice(0, 2))
    assert find_misfits(unique, assign_roles(unique, said), said.columns) == ()
