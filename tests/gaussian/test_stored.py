"""The file of a pattern summary: it comes back bit by bit, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from holed_tables import factor_table

from em_impute.gaussian import PatternSummary


def assert_same(one: PatternSummary, other: PatternSummary) -> None:
    """Names, patterns and rows, to the last bit."""
    assert one.columns == other.columns
    unmoved = np.zeros(one.n_columns), np.ones(one.n_columns)
    for ours, theirs in zip(
        (one.patterns, one.counts, *one.weighted_rows(*unmoved), one.observed_mean),
        (other.patterns, other.counts, *other.weighted_rows(*unmoved), other.observed_mean),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_saved_summary_comes_back_bit_by_bit(tmp_path: Path) -> None:
    summary = PatternSummary.from_array(factor_table(200, 4, 0.2, seed=8), ["a", "b", "ü", "d"])
    summary.save(tmp_path / "summary.npz")
    assert_same(PatternSummary.load(tmp_path / "summary.npz"), summary)


def test_a_file_that_is_no_summary_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"other\.npz is not a pattern summary"):
        PatternSummary.load(tmp_path / "other.npz")


BROKEN: dict[str, object] = {
    "columns": [["a", "a", "b", "c"], np.arange(4), np.array(["a", "b"])],
    "patterns": [np.zeros((2, 4)), np.ones((3, 4), dtype=bool), np.zeros((0, 4), dtype=bool)],
    "counts": [-1, 0, 10**9, 0.5, np.nan],
    "shift": [np.nan, np.inf, np.zeros(2)],
    "rows": [np.nan, np.inf, np.zeros((2, 2)), 7.0],
    "weights": [-1.0, np.nan, 1e9, np.zeros(2)],
    "pattern_of_row": [-1, 10**6, np.zeros(2, dtype=np.int64)],
    "version": [2, np.zeros(2), np.array("x")],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, many in BROKEN.items() for v in many])
def test_a_summary_that_does_not_hold_together_is_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    """A field of another shape or type, or with one number that cannot be."""
    path = tmp_path / "summary.npz"
    PatternSummary.from_array(factor_table(200, 4, 0.2, seed=8)).save(path)
    with np.load(path) as file:
        fields = dict(file)
    if np.ndim(value):
        fields[name] = np.asarray(value)
    else:
        fields[name] = fields[name].astype(np.result_type(fields[name], np.asarray(value)))
        fields[name].flat[0] = value
    np.savez(path, **fields)
    with pytest.raises(
        ValueError, match=r"summary\.npz is not a pattern summary of format version 1"
    ):
        PatternSummary.load(path)


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_summary_that_was_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "summary.npz"
    PatternSummary.from_array(factor_table(200, 4, 0.2, seed=8)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"summary\.npz is not a pattern summary"):
        PatternSummary.load(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(ValueError, match="is not a pattern summary"):
        PatternSummary.load(path.with_suffix(".npy"))


def test_summaries_of_every_kind_come_back(tmp_path: Path) -> None:
    """Without rows, with rows that show nothing, merged, and with an empty column."""
    X = factor_table(300, 3, 0.4, seed=1)
    X[:5] = np.nan
    empty = np.column_stack([X, np.full(len(X), np.nan)])
    summaries = [
        PatternSummary(["a"]),
        PatternSummary.from_array(X),
        PatternSummary.from_array(X[:50]) + PatternSummary.from_array(X[50:]),
        PatternSummary.from_array(empty),
    ]
    for summary in summaries:
        summary.save(tmp_path / "summary.npz")
        assert_same(PatternSummary.load(tmp_path / "summary.npz"), summary)
