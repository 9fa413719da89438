"""A snapshot becomes a `PatternSummary`, in one pass over its batches."""

from __future__ import annotations

from em_impute.gaussian import PatternSummary
from em_impute.tables.columns import Roles
from em_impute.tables.sources import Snapshot, read_batches


def summarise(snapshot: Snapshot, roles: Roles) -> PatternSummary:
    """Sum up the model's columns of a snapshot per missingness pattern: all that EM needs."""
    summary = PatternSummary(columns=roles.dimensions)
    for batch in read_batches(snapshot.path, roles.model_columns):
        summary.update(roles.encode(batch))
    return summary
