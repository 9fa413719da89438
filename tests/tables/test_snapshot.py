"""A snapshot is read again: its columns, in batches, in the order of its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from em_impute.job import BATCH_ROWS
from em_impute.tables.reading.arrow_files import stream_file
from em_impute.tables.snapshot import (
    Snapshot,
    read_batches,
)

Take = Callable[..., Snapshot]


@pytest.mark.parametrize("read", ["source", "snapshot"])
def test_what_is_read_is_let_go_of(tmp_path: Path, read: str) -> None:
    """A table of 40 batches, of which some are in memory at a time; all would be 21 MB or more."""
    group = pa.table({"a": np.random.default_rng(1).normal(size=BATCH_ROWS)})
    parquet, arrow = tmp_path / "x.parquet", tmp_path / "x.arrow"
    with (
        pq.ParquetWriter(parquet, group.schema) as table,
        pa.ipc.new_file(arrow, group.schema) as snapshot,
    ):
        for _ in range(40):
            table.write_table(group)
            snapshot.write_table(group)
    batches = stream_file(parquet, "parquet") if read == "source" else read_batches(arrow)
    before, rows, most = pa.total_allocated_bytes(), 0, 0
    for batch in batches:
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 40 * BATCH_ROWS
    # Not nothing either: it would be a memory map, whose pages are counted as the process's.
    assert group.nbytes <= most < 20 * group.nbytes


def test_only_the_columns_that_are_asked_for_are_read(take_table: Take) -> None:
    names = pa.array(["p", "q"]).dictionary_encode()
    snapshot = take_table(pa.table({"a": [1, 2], "b": names, "c": [3, 4]}))
    (batch,) = read_batches(snapshot.path, ["c", "b"])
    assert batch.to_pydict() == {"c": [3, 4], "b": ["p", "q"]}


def test_profile_of_a_column_that_is_not_there(take_csv: Take) -> None:
    with pytest.raises(KeyError, match="b"):
        take_csv("a\n1\n").profile("b")


def test_batches_keep_the_order_of_the_rows(take_table: Take) -> None:
    snapshot = take_table(
        pa.table({"i": range(3 * BATCH_ROWS + 1), "j": range(3 * BATCH_ROWS + 1)})
    )
    batches = list(read_batches(snapshot.path, ["i"]))
    assert [i for batch in batches for i in batch["i"].to_pylist()] == list(range(snapshot.rows))
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS
    assert batches[0].schema.names == ["i"]
