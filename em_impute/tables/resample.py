"""The rows of a table drawn with replacement, and summed up: for the models of a bootstrap.

Each row is there 0, 1, 2 or more times, by a Poisson distribution with mean 1, whatever becomes of
the others (Hanley & MacGibbon 2006). Row and seed decide, as they do on draws, so batches, engines
and, with a key, the order of rows change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import pdtr

from em_impute.gaussian import PatternSummary
from em_impute.gaussian.arrays import Ints
from em_impute.gaussian.draws import uniforms
from em_impute.gaussian.keys import Words
from em_impute.tables.columns.roles import Roles
from em_impute.tables.engines import Workers
from em_impute.tables.row_keys import row_keys
from em_impute.tables.snapshot import Part, Snapshot, parts_of, read_batches

# Keeps the number of times apart from what is drawn in the row's cells. No column is called so.
TIMES = ("em_impute", "times")
# How likely it is to be there at most so many times; beyond the last lies less than 1e-16.
AT_MOST = pdtr(np.arange(18), 1.0)


def resample(
    snapshot: Snapshot, roles: Roles, m: int, seed: int, workers: Workers | None = None
) -> list[PatternSummary]:
    """Sum up the model's columns of `m` resampled tables, in one pass over the rows.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    m : int
    seed : int
    workers : Workers, optional
        Who does it, a part each; by default it is done here, with the same bits.
    """
    parts = parts_of(snapshot, len(roles.dimensions))
    of_part = partial(_resample_part, snapshot.path.absolute(), roles, m, seed)
    found = map(of_part, parts) if workers is None else workers.map(of_part, snapshot, parts)
    totals = [PatternSummary(roles.dimensions) for _ in range(m)]
    for summaries in found:
        totals = [total + more for total, more in zip(totals, summaries, strict=True)]
    return totals


def _resample_part(
    path: Path, roles: Roles, m: int, seed: int, part: Part
) -> Sequence[PatternSummary]:
    summaries = [PatternSummary(roles.dimensions) for _ in range(m)]
    row = part.first_row
    columns = list(dict.fromkeys([*roles.model_columns, *roles.key]))
    for batch in read_batches(path, columns, part):
        X, words = roles.encode(batch), row_keys(batch, roles.key, row)
        for number, summary in enumerate(summaries, start=1):
            summary.update(np.repeat(X, times(words, seed, number), axis=0))
        row += batch.num_rows
    return summaries


def times(words: Words, seed: int, imputation: int) -> Ints:
    """How many times each row is there.

    Parameters
    ----------
    words : ndarray of shape (n_rows,), uint64
        What `row_keys` makes of the rows' keys.
    seed : int
    imputation : int
        From 1.
    """
    rows = np.arange(len(words))
    chances = uniforms((rows, np.zeros_like(rows)), (TIMES,), seed, words, imputation)
    return np.searchsorted(AT_MOST, chances)
