"""A sample of rows: as many as asked for, in order, evenly spread, whatever the batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from em_impute.tables.sample import sample_rows


def sampled(rows: int, size: int, batch_rows: int) -> list[int]:
    table = pa.table({"row": range(rows)})
    batches = sample_rows(table.to_batches(max_chunksize=batch_rows), rows, size)
    return [row for batch in batches for row in batch["row"].to_pylist()]


@pytest.mark.parametrize(("rows", "size"), [(1000, 10), (1000, 999), (7, 3), (1, 1), (0, 5)])
def test_as_many_rows_as_asked_for_in_order(rows: int, size: int) -> None:
    chosen = sampled(rows, size, batch_rows=100)
    assert len(chosen) == len(set(chosen)) == min(rows, size)
    assert chosen == sorted(chosen)
    assert all(0 <= row < rows for row in chosen)


@pytest.mark.parametrize("size", [50, 1000])
def test_a_table_that_is_no_longer_is_taken_whole(size: int) -> None:
    assert sampled(50, size, batch_rows=7) == list(range(50))


@pytest.mark.parametrize("batch_rows", [1, 64, 1000])
def test_the_batches_do_not_matter(batch_rows: int) -> None:
    assert sampled(1000, 30, batch_rows) == sampled(1000, 30, batch_rows=17)


def test_the_sample_is_spread_over_the_table() -> None:
    chosen = np.array(sampled(100_000, 1000, batch_rows=4096))
    assert np.histogram(chosen, 10, (0, 100_000))[0].tolist() == [100] * 10
    # Within its part each row is as likely as any other: here parts are of 100 rows.
    assert abs((chosen % 100).mean() - 49.5) < 5 * np.sqrt(100**2 / 12 / 1000)


def test_nothing_of_the_batch_is_kept_alive() -> None:
    batch = pa.record_batch({"x": np.arange(100_000.0)})
    (part,) = sample_rows([batch], 100_000, 10)
    assert sum(buffer.size for buffer in part.column(0).buffers() if buffer) < 1000
