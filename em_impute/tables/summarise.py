"""A snapshot becomes a `PatternSummary`, in one pass over its batches."""

from __future__ import annotations

from collections.abc import Sequence

from em_impute.gaussian import PatternSummary
from em_impute.tables.columns import to_matrix
from em_impute.tables.sources import Snapshot, read_batches


def summarise(snapshot: Snapshot, columns: Sequence[str]) -> PatternSummary:
    """Sum up numeric columns of a snapshot per missingness pattern: all that EM needs of them."""
    summary = PatternSummary(columns=tuple(columns))
    for batch in read_batches(snapshot.path, columns):
        summary.update(to_matrix(batch, columns))
    return summary
