"""The rows that Great Expectations sees: some columns in pandas, of a long table a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import pyarrow as pa

from em_impute.tables.columns.encoding import decimals_as_floats
from em_impute.tables.sample import sample_rows


def frame_of(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    names: Sequence[str],
    rows: int,
    most: int,
) -> pd.DataFrame:
    """Return some columns as Great Expectations takes them.

    Parameters
    ----------
    schema : Schema
    batches : iterable of RecordBatch
        The table, whose columns are these.
    names : sequence of str
    rows : int
        How many there are in all.
    most : int
        Beyond so many rows it is a sample.
    """
    selected = pa.schema([schema.field(name) for name in names])
    parts = (batch.select(list(names)) for batch in batches)
    sample = sample_rows(parts, rows, most) if names else ()
    table = decimals_as_floats(pa.Table.from_batches(sample, selected))
    frame: pd.DataFrame = table.to_pandas()
    return frame
