"""Whether a table holds, at the version of a run, the rows that the run has published."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.job import CannotRun, DeltaTarget
from em_impute.tables.lakehouse import delta_target, iceberg_target
from em_impute.tables.lakehouse.commits import Rows
from em_impute.tables.lakehouse.versions import Brought, LakeTarget, capitalised, in_words
from em_impute.tables.row_keys import row_keys
from em_impute.tables.writing.publications import Comparison
from em_impute.tables.writing.staged import Staged


def compare(staged: Staged, target: LakeTarget, version: int | None) -> Comparison:
    """Compare the rows of a run with those that its commit has brought, by time travel.

    Parameters
    ----------
    staged : Staged
        The table of the run.
    target : DeltaTarget or IcebergTarget
    version : int or None
        That the run has published; None if its manifest does not say.
    """
    name = capitalised(target)
    if version is None:
        return Comparison(f"{name}: the run does not know its version, so nothing is compared.")
    try:
        found = _brought(target, version)
        if found is None:
            return Comparison(f"{name} is not there any more.")
        rows = Rows(staged, target)
        names = [field.name for field in rows.schema if not pa.types.is_struct(field.type)]
        wanted = _counted(rows.reader(), names)
        there = _counted(found.batches, names)
    except (CannotRun, OSError) as error:
        return Comparison(f"What it has published cannot be compared: {error}")
    shown = in_words(target, version)
    # An upsert writes files anew, with rows that were there before.
    lacking = sum(max(count - there.get(key, 0), 0) for key, count in wanted.items())
    others = 0 if target.mode == "upsert" else sum(there.values()) - sum(wanted.values())
    if lacking or others:
        return Comparison(
            f"{shown.capitalize()} of {target} lacks {lacking:,} of the {staged.rows:,} rows that "
            "this run computes.",
            True,
        )
    now = "" if found.newest == version else f"; its newest is {found.newest}"
    return Comparison(f"{shown.capitalize()} of {target} holds what this run published{now}.")


def _brought(target: LakeTarget, version: int) -> Brought | None:
    if isinstance(target, DeltaTarget):
        return delta_target.brought(target, version)
    return iceberg_target.brought(target, version)


def _counted(batches: Iterable[pa.RecordBatch], names: list[str]) -> dict[int, int]:
    """How often each row is there, by a number made of its cells."""
    keys: list[NDArray[np.uint64]] = [row_keys(batch, names, 0) for batch in batches]
    found, counts = np.unique(np.concatenate(keys or [np.empty(0, np.uint64)]), return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
