"""How each column takes part in the model: what the job says of it, and what the table holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf

import pyarrow as pa
import pyarrow.compute as pc

from em_impute.job import FileSource, Job, JobError, Problem
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import Encoding, as_labels
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.transforms import transform_of
from em_impute.tables.reading.missing import is_blank
from em_impute.tables.snapshot import Snapshot, read_batches

# More levels than this are an identifier, or text; each of them is a column of the model.
MOST_LEVELS = 50


def encoding_of(snapshot: Snapshot, job: Job, name: str, type_: pa.DataType) -> Encoding:
    """Return how a column of the model takes part in it.

    Parameters
    ----------
    snapshot : Snapshot
    job : Job
    name : str
    type_ : DataType
        Of the column in the table.

    Raises
    ------
    JobError
        If it has too many levels.
    """
    if name in job.columns.categories or pa.types.is_boolean(type_):
        return _categories(snapshot, job, name)
    if pa.types.is_temporal(type_):
        return Instant(name)
    return numeric_of(job, name, type_)


def numeric_of(job: Job, name: str, type_: pa.DataType) -> Numeric:
    """Return how a column of numbers takes part.

    Parameters
    ----------
    job : Job
    name : str
    type_ : DataType
        Of the column in the table.
    """
    options = job.columns
    low, high = options.bounds.get(name, (None, None))
    integer = pa.types.is_integer(type_)
    whole = options.round is True or name in (options.round or ()) or (integer and _has_types(job))
    return Numeric(
        name,
        transform_of(options.transform.get(name)),
        -inf if low is None else low,
        inf if high is None else high,
        whole,
        integer and whole,
        options.back_transform,
        type_.scale if pa.types.is_decimal(type_) else None,
    )


def _has_types(job: Job) -> bool:
    """Whether an integer column of the source is one by its type, not by the look of its cells."""
    return not (isinstance(job.source, FileSource) and job.source.is_text)


def _categories(snapshot: Snapshot, job: Job, name: str) -> Encoding:
    levels, counts = job.columns.categories.get(name, "nominal"), level_counts(snapshot, name)
    if levels == "nominal":
        if len(counts) > MOST_LEVELS:
            message = (
                f"column {name!r} has more than {MOST_LEVELS} levels; join the rare ones, or leave "
                "the column out of the model."
            )
            place = job.place("columns", "categories", name)
            raise JobError([Problem(place, f"columns.categories: {message}")])
        return Nominal(name, tuple(sorted(counts)))
    return Ordinal(name, levels, tuple(counts[level] for level in levels))


def level_counts(
    snapshot: Snapshot, name: str, is_no_level: Callable[[pa.Array], pa.Array] = pc.is_null
) -> Counter[str]:
    """Observed cells of each level; of hardly more levels than a column may have."""
    if (known := snapshot.profile(name).levels) is not None:
        return Counter(dict(known))
    counts: Counter[str] = Counter()
    for batch in read_batches(snapshot.path, [name]):
        labels = as_labels(batch.column(0))
        values, times = labels.filter(pc.invert(is_no_level(labels))).value_counts().flatten()
        counts.update(dict(zip(values.to_pylist(), times.to_pylist(), strict=True)))
        if len(counts) > MOST_LEVELS:
            break
    return counts


def has_few_levels(snapshot: Snapshot, name: str) -> bool:
    """Whether a column of text or booleans could be one of categories."""
    return len(level_counts(snapshot, name, is_blank)) <= MOST_LEVELS
