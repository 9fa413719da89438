"""Summaries and fills of batches of Arrow, as clusters hand them over."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from holed_tables import factor_table

from em_impute import (
    GaussianModel,
    PatternSummary,
    fill_batches,
    fit_gaussian,
    summarise_batches,
)

COLUMNS = ["a", "b", "c"]


@pytest.fixture
def frame() -> pd.DataFrame:
    frame = pd.DataFrame(factor_table(200, 3, 0.2, seed=1), columns=COLUMNS)
    return frame.assign(id=np.arange(200), note="kept")


def partitions(frame: pd.DataFrame) -> list[pa.RecordBatch]:
    """Three of different sizes, in another order, and one of no rows."""
    ends = [150, 200, 0, 90, 90, 150, 0, 0]
    return [
        pa.RecordBatch.from_pandas(frame.iloc[start:end], preserve_index=False)
        for start, end in zip(ends[::2], ends[1::2], strict=True)
    ]


def the_model(frame: pd.DataFrame) -> GaussianModel:
    return fit_gaussian(frame[COLUMNS]).model


def test_summaries_of_partitions_add_up(frame: pd.DataFrame) -> None:
    total = PatternSummary(COLUMNS)
    for part in [*partitions(frame), None]:
        sent = summarise_batches([] if part is None else [part], COLUMNS)
        total = total + PatternSummary.from_bytes(sent)
    assert total.n_rows == 200
    model, expected = fit_gaussian(total).model, the_model(frame)
    np.testing.assert_allclose(model.mean, expected.mean, rtol=1e-8)
    np.testing.assert_allclose(model.covariance, expected.covariance, rtol=1e-8)


def test_a_summary_comes_back_from_its_bytes_bit_by_bit(frame: pd.DataFrame) -> None:
    sent = summarise_batches(partitions(frame), COLUMNS)
    assert PatternSummary.from_bytes(sent).to_bytes() == sent


@pytest.mark.parametrize("content", [b"", b"no summary", b"PK\x03\x04"])
def test_other_bytes_are_no_summary(content: bytes) -> None:
    with pytest.raises(ValueError, match="What was given is not a pattern summary of format"):
        PatternSummary.from_bytes(content)


@pytest.mark.parametrize("kind", [pa.RecordBatch, pa.Table])
def test_partitions_are_filled_and_drawn_as_the_table(frame: pd.DataFrame, kind: type) -> None:
    model = the_model(frame)
    parts = [
        part if kind is pa.RecordBatch else pa.Table.from_batches([part])
        for part in partitions(frame)
    ]
    for options, expected in (
        ({}, model.impute(frame[COLUMNS])),
        ({"seed": 3, "key": ["id"]}, model.draw(frame[COLUMNS], 3, frame["id"])),
        (
            {"seed": 3, "key": "id", "imputation": 2},
            model.draw(frame[COLUMNS], 3, frame["id"], 2),
        ),
    ):
        filled = list(fill_batches(model, parts, **options))  # type: ignore[arg-type]
        assert all(isinstance(part, kind) for part in filled)
        whole = pd.concat([part.to_pandas() for part in filled]).sort_values("id")
        assert whole[COLUMNS].to_numpy().tobytes() == expected.tobytes()
        assert whole["note"].eq("kept").all()


def test_columns_keep_their_floating_type_and_their_place() -> None:
    model = GaussianModel(np.zeros(2), np.eye(2) + 0.5, ("b", "a"))
    batch = pa.table(
        {
            "a": pa.array([1, None], pa.int16()),
            "key": pa.array(["x", "y"]),
            "b": pa.array([None, 0.1], pa.float32()),
        }
    )
    [filled] = fill_batches(model, [batch])
    assert filled.schema == pa.schema(
        [("a", pa.float64()), ("key", pa.string()), ("b", pa.float32())]
    )
    assert filled.column("b").to_pylist()[1] == np.float32(0.1)
    assert filled.column("a").null_count == filled.column("b").null_count == 0


def test_mistakes_are_named(frame: pd.DataFrame) -> None:
    model = the_model(frame)
    [batch, *_] = partitions(frame)
    with pytest.raises(ValueError, match="The batch has no column 'z'; it has 'a', 'b'"):
        summarise_batches([batch], ["a", "z"])
    with pytest.raises(ValueError, match="The batch has no column 'b'"):
        next(fill_batches(model, [batch.select(["a", "c"])]))
    with pytest.raises(ValueError, match=r"name these columns, as in key=\['id'\]"):
        fill_batches(model, [batch], seed=1)
    with pytest.raises(ValueError, match="The batch has no column 'day'"):
        next(fill_batches(model, [batch], seed=1, key=["day"]))
    with pytest.raises(ValueError, match="'note'"):
        summarise_batches([batch], ["a", "note"])
    with pytest.raises(ValueError, match="model must be a GaussianModel"):
        fill_batches("model", [batch])  # type: ignore[arg-type]
    holed = pa.table({"a": [1.0], "b": [None], "c": [1.0], "id": pa.array([None], pa.int64())})
    with pytest.raises(ValueError, match="The key column 'id' has missing cells"):
        next(fill_batches(model, [holed], seed=1, key=["id"]))
