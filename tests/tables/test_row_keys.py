"""Row keys: one number for each row, the same in any batch, and different for different keys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from em_impute.tables.row_keys import row_keys


def test_without_a_key_a_row_is_told_by_its_number() -> None:
    batch = pa.record_batch({"x": [5, 5]})
    assert row_keys(batch, (), 7).tolist() == [7, 8]


def test_integers_are_taken_as_they_are() -> None:
    batch = pa.record_batch({"k": pa.array([3, -1], pa.int16())})
    assert row_keys(batch, ("k",), 1).tolist() == [3, 2**64 - 1]


def test_keys_of_several_columns_differ_in_any_of_them_and_in_their_order() -> None:
    a, b = np.divmod(np.arange(10_000), 100)
    batch = pa.record_batch({"a": a, "b": b, "t": [f"{i}" for i in a]})
    for key in (("a", "b"), ("b", "t"), ("t", "a", "b")):
        words = row_keys(batch, key, 1)
        assert len(np.unique(words)) == 10_000
        parts = [row_keys(batch.slice(i, 3000), key, 1) for i in range(0, 10_000, 3000)]
        np.testing.assert_array_equal(words, np.concatenate(parts))
    swapped = row_keys(batch, ("b", "a"), 1)
    assert (swapped != row_keys(batch, ("a", "b"), 1))[a != b].all()


def test_a_dictionary_is_its_values() -> None:
    texts = pa.array(["x", "y", "x"])
    plain, encoded = (
        row_keys(pa.record_batch({"k": cells}), ("k",), 1)
        for cells in (texts, texts.dictionary_encode())
    )
    np.testing.assert_array_equal(plain, encoded)
