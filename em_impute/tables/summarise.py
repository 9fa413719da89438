"""A snapshot becomes a `PatternSummary`, in one pass over its batches, and that a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian import (
    ConvergenceWarning,
    DividedSummary,
    EMResult,
    GaussianModel,
    Iteration,
    PatternSummary,
    fit_gaussian,
)
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.job import ModelOptions
from em_impute.tables.columns.roles import Roles
from em_impute.tables.engines import Workers
from em_impute.tables.snapshot import Part, Snapshot, parts_of, read_batches
from em_impute.tables.whole_files import written_whole

# Every update goes through the whole summary, so batches are put together up to so many cells.
GATHERED_CELLS = 2**22
# A summary of more numbers, 134 MB of them, stays on the workers that made it.
MOST_NUMBERS = 2**24
# There it is in blocks of about this share of it, so that all of them have work.
SHARE_OF_BLOCKS = 4

_Rows = TypeVar("_Rows", Floats, pa.RecordBatch)


def summarise(snapshot: Snapshot, roles: Roles) -> PatternSummary:
    """Sum up the model's columns of a snapshot per missingness pattern: all that EM needs.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    """
    return _sum_up_block(snapshot.path, roles, parts_of(snapshot, len(roles.dimensions)))


def summarise_by(
    workers: Workers, snapshot: Snapshot, roles: Roles
) -> PatternSummary | DividedSummary:
    """The same by workers, a part each, with the same bits.

    A summary with more than `MOST_NUMBERS` stays on the workers, in blocks of a share of the parts
    that brought it there.

    Parameters
    ----------
    workers : Workers
    snapshot : Snapshot
    roles : Roles
    """
    parts, path = parts_of(snapshot, len(roles.dimensions)), snapshot.path.absolute()
    total = PatternSummary(roles.dimensions)
    with closing(workers.map(partial(_sum_up_part, path, roles), snapshot, parts)) as summaries:
        for step, summary in enumerate(summaries, start=1):
            total += summary
            if total.n_weighted_rows * total.n_columns > MOST_NUMBERS:
                each = max(1, step // SHARE_OF_BLOCKS)
                blocks = [parts[first : first + each] for first in range(0, len(parts), each)]
                break
        else:
            return total
    return DividedSummary(workers.keep(partial(_sum_up_block, path, roles), snapshot, blocks))


def _sum_up_block(path: Path | pa.Buffer, roles: Roles, parts: Sequence[Part]) -> PatternSummary:
    summaries = map(partial(_sum_up_part, path, roles), parts)
    return sum(summaries, start=PatternSummary(roles.dimensions))


def _sum_up_part(path: Path | pa.Buffer, roles: Roles, part: Part) -> PatternSummary:
    batches = read_batches(path, roles.model_columns, part)
    return sum_up((roles.encode(batch) for batch in batches), roles.dimensions)


def summarise_partitions(
    snapshot: Snapshot, roles: Roles, sizes: Sequence[int], wanted: Collection[int]
) -> dict[int, PatternSummary]:
    """Sum up some of the partitions that the rows of a snapshot are in, each by itself.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    sizes : sequence of int
        Rows of every partition, in turn.
    wanted : collection of int
        Numbers of the partitions to sum up, from 0.
    """
    pieces = _by_partition(read_batches(snapshot.path, roles.model_columns), sizes)
    encoded = ((k, roles.encode(piece)) for k, piece in pieces if k in wanted)
    found = {k: PatternSummary(roles.dimensions) for k in wanted}
    return found | _summed_up(encoded, roles.dimensions)


def sum_up_partitions(
    matrices: Iterable[Floats], columns: Sequence[str], sizes: Sequence[int]
) -> list[PatternSummary]:
    """Sum up the partitions that rows are in which come in portions.

    Parameters
    ----------
    matrices : iterable of ndarray of shape (n, n_columns)
        The portions.
    columns : sequence of str
    sizes : sequence of int
        Rows of every partition, in turn.
    """
    found = _summed_up(_by_partition(matrices, sizes), columns)
    return [found.get(k) or PatternSummary(columns) for k in range(len(sizes))]


def _summed_up(
    pieces: Iterable[tuple[int, Floats]], columns: Sequence[str]
) -> dict[int, PatternSummary]:
    parts = groupby(pieces, key=itemgetter(0))
    return {k: sum_up((X for _, X in part), columns) for k, part in parts}


def _by_partition(portions: Iterable[_Rows], sizes: Sequence[int]) -> Iterator[tuple[int, _Rows]]:
    """Cut portions of rows where one partition ends and the next begins, with its number."""
    part, left = -1, 0
    for portion in portions:
        while len(portion):
            while not left:
                part, left = part + 1, sizes[part + 1]
            taken = min(left, len(portion))
            yield part, portion[:taken]
            portion, left = portion[taken:], left - taken


def sum_up(matrices: Iterable[Floats], columns: Sequence[str]) -> PatternSummary:
    """Sum up rows that come in portions."""
    summary = PatternSummary(columns)
    for X in _gathered(matrices):
        summary.update(X)
    return summary


def count_patterns(snapshot: Snapshot, roles: Roles) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Count the missingness patterns of the model's columns, without a look at what they hold.

    This also works for a table that cannot be summed up.

    Returns
    -------
    patterns : ndarray of shape (n_patterns, n_columns), bool
        True where observed.
    counts : ndarray of shape (n_patterns,), int64
        Rows per pattern.
    """
    names = roles.model_columns
    patterns, counts = np.empty((0, len(names)), dtype=bool), np.empty(0, dtype=np.int64)
    held: list[NDArray[np.bool_]] = []
    for batch in read_batches(snapshot.path, names):
        held.append(~roles.missing(batch))
        if sum(part.size for part in held) >= GATHERED_CELLS:
            patterns, counts = _counted(patterns, counts, held)
            held = []
    return _counted(patterns, counts, held)


def _counted(
    patterns: NDArray[np.bool_], counts: NDArray[np.int64], rows: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The patterns and their counts with those of more rows."""
    merged, which = distinct_patterns(np.concatenate([patterns, *rows]))
    once = np.ones(len(which) - len(counts))
    total = np.bincount(which, np.concatenate([counts, once]), minlength=len(merged))
    return merged, total.astype(np.int64)


def _gathered(matrices: Iterable[Floats]) -> Iterator[Floats]:
    held: list[Floats] = []
    for X in matrices:
        held.append(X)
        if sum(part.size for part in held) >= GATHERED_CELLS:
            yield np.concatenate(held)
            held.clear()
    if held:
        yield np.concatenate(held)


def fit_model(
    summary: PatternSummary | DividedSummary,
    options: ModelOptions,
    on_iteration: Callable[[Iteration], None] | None = None,
    checkpoint: Path | None = None,
    near: EMResult | None = None,
    start: GaussianModel | None = None,
) -> EMResult:
    """Fit a model as a job says; the result has the status, so nothing is warned of.

    Every few seconds the model so far is kept in the file `checkpoint`, from which the next fit of
    the same columns goes on; at the end the file is removed. With a fit that is `near`, to nearly
    the same rows, the search begins there and has its prior.

    Parameters
    ----------
    summary : PatternSummary or DividedSummary
    options : ModelOptions
    on_iteration : callable, optional
        Called with each `Iteration`.
    checkpoint : Path, optional
    near : EMResult, optional
    start : GaussianModel, optional
        Where the search begins if there is neither a fit that is near nor one to go on from.
    """
    kept = _kept(checkpoint, summary.columns) if checkpoint else None
    start = near.model if near else kept or start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = fit_gaussian(
            summary,
            tol=options.tol,
            max_iter=options.max_iter,
            acceleration=options.acceleration,
            prior_rows=near.prior_rows if near else options.prior,
            time_limit=options.time_limit,
            n_starts=1 if near else options.starts,
            start=start,
            on_iteration=on_iteration,
            on_checkpoint=None if checkpoint is None else partial(_keep, checkpoint),
        )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return result


def _keep(path: Path, model: GaussianModel) -> None:
    with written_whole(path) as half_written:
        model.save(half_written)


def _kept(path: Path, columns: Sequence[str]) -> GaussianModel | None:
    """The model that an interrupted fit has kept, if there is one of these columns."""
    try:
        model = GaussianModel.load(path)
    except (OSError, ValueError):
        return None
    return model if model.columns == tuple(columns) else None
