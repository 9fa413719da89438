"""CSV in a stream: the types are those that Arrow finds in the whole file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from em_impute.tables.reading import csv_text
from em_impute.tables.reading.files import SourceFile

CELLS = st.sampled_from(
    [
        "",
        "NA",
        "null",
        "0",
        "1",
        "-7",
        "12345678901234567",
        "1.5",
        "1e5",
        "nan",
        "inf",
        "true",
        "False",
        "2020-01-02",
        "12:30",
        "12:30:15",
        "2020-01-02 03:04:05",
        "2020-01-02T03:04:05.5",
        "2020-01-02T03:04:05Z",
        "2020-01-02T03:04:05+01:00",
        "x",
        " 1",
        "a b",
        "#N/A",
    ]
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows each."""
    monkeypatch.setattr(csv_text, "CSV_BLOCK_BYTES", 64)


@given(cells=st.lists(CELLS, min_size=1, max_size=30))
@example(cells=["1"] * 20 + ["2020-01-02"])
@example(cells=["1"] * 20 + ["true"])
@example(cells=["2020-01-02"] * 20 + ["2020-01-02 03:04:05"])
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_types_and_values_are_those_of_arrow_on_the_whole_file(
    small_blocks: None, tmp_path: Path, cells: list[str]
) -> None:
    content = "c,d\n" + "".join(f'"{cell}",1\n' for cell in cells)
    (tmp_path / "x.csv").write_text(content)
    file = SourceFile(tmp_path / "x.csv", "x.csv")
    reading = csv_text.Reading(moments=("c",))
    schema = csv_text.infer([file], reading)
    whole = pa_csv.read_csv(
        io.BytesIO(content.encode()),
        convert_options=pa_csv.ConvertOptions(strings_can_be_null=False),
    )
    if any(re.match(csv_text.LONG_CODE, cell) for cell in cells):
        schema = schema if schema.field("c").type != pa.string() else whole.schema
    assert schema == whole.schema
    table = pa.Table.from_batches(csv_text.read(file, schema), schema)
    assert str(table.to_pydict()) == str(whole.to_pydict())


def test_file_is_read_in_blocks(small_blocks: None, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1,x\n" * 1000)
    file = SourceFile(tmp_path / "x.csv", "x.csv")
    batches = list(csv_text.read(file, csv_text.infer([file])))
    assert sum(batch.num_rows for batch in batches) == 1000
    assert max(batch.num_rows for batch in batches) <= 16
