"""How columns take part: by what the job says of them, and by what the table holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from em_impute.job import Job, JobError
from em_impute.tables.columns.categories import Nominal
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import assign_roles
from em_impute.tables.snapshot import Snapshot

Take = Callable[..., Snapshot]


MakeJob = Callable[..., Job]


def test_parts_of_categories_and_times(take_table: Take, job: MakeJob) -> None:
    table = pa.table({"t": [date(2020, 1, 1)] * 2, "b": [True, None], "x": [1.0, 2.0]})
    roles = assign_roles(take_table(table), job(impute=["b"], predictors=["t", "x"]))
    assert roles.dimensions == ("t", "x")
    assert roles.encoding("b") == Nominal("b", ("true",))
    message = "column 't' is of type date32"
    with pytest.raises(JobError, match=message):
        assign_roles(take_table(table), job(impute=["t"]))


def test_too_many_levels(take_csv: Take, job: MakeJob) -> None:
    names = "".join(f"level{i}\n" for i in range(51))
    with pytest.raises(JobError, match="column 's' has more than 50 levels; join the rare ones"):
        assign_roles(take_csv(f"s\n{names}"), job(categories={"s": "nominal"}))


def test_integers_of_a_typed_source_stay_integers(take_table: Take, tmp_path: Path) -> None:
    snapshot = take_table(pa.table({"n": pa.array([2**53 + 1, None], pa.int64())}))
    typed = Job.model_validate(
        {"name": "a", "source": {"path": "x.feather"}, "target": {"path": "y.csv"}}
    )
    assert assign_roles(snapshot, typed).encoding("n") == Numeric("n", whole=True, keeps_type=True)
