"""The columns and their cells, observed and imputed, measured on the snapshot and the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from em_impute.gaussian import PatternSummary
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.filling import FillingModel
from em_impute.reporting.columns import ImputedDigest, describe_columns, digest
from em_impute.reporting.distributions import (
    MAX_DISTRIBUTIONS,
    describe_distributions,
    most_imputed,
)
from em_impute.reporting.records import Column, Distribution, LevelCounts, Role
from em_impute.runs.run import Found
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.numbers import Numeric, ceil_or_inf, floor_or_inf
from em_impute.tables.columns.roles import Roles, to_matrix
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.columns.unfilled import Unfilled
from em_impute.tables.digest import Digest, Moments
from em_impute.tables.groups import Fitted
from em_impute.tables.snapshot import Snapshot, read_batches
from em_impute.tables.writing.staged import Staged

Cells = dict[str, tuple[Floats, Floats]]
"""Imputed cells of columns, and their standard deviations."""


def measure_columns(
    found: Found,
    roles: Roles | None,
    summary: PatternSummary | None,
    observed: Mapping[str, Digest],
    imputed: Mapping[str, ImputedDigest],
) -> tuple[Column, ...]:
    """Return every column of the table, described as far as the run came.

    Parameters
    ----------
    found : Found
    roles : Roles or None
        None describes what is missing, and no more.
    summary : PatternSummary or None
    observed : mapping of str to Digest
    imputed : mapping of str to ImputedDigest
        What `digest_cells` returns.
    """
    snapshot, staged = found.snapshot, found.staged
    if snapshot is None:
        return ()
    result = found.fitted.result if found.fitted else None
    filled = {name: Moments(cells) for name, cells in staged.imputed} if staged else {}
    described = describe_columns(
        _parts(snapshot, roles),
        {column.name: column.missing for column in snapshot.columns},
        snapshot.rows,
        summary=summary,
        model=result.model if result else None,
        # Of a sample there are moments; the counts are of all rows.
        imputed=filled
        | {
            name: replace(d.cells.moments, count=filled[name].count)
            for name, d in imputed.items()
            if d.cells.count
        },
    )
    if roles is None or result is None or summary is None:
        return described
    models, kurtosis = _models(found.fitted, snapshot.rows), _kurtosis(snapshot, roles, summary)
    return tuple(
        replace(
            _on_its_own_scale(column, roles, models, observed),
            kurtosis=kurtosis.get(column.name),
        )
        for column in described
    )


def with_left(columns: Sequence[Column], unfilled: Sequence[Unfilled]) -> tuple[Column, ...]:
    """Return the columns with why their missing cells are left missing, where they are."""
    reasons = {one.column: one.explained for one in unfilled}
    return tuple(replace(column, left=reasons.get(column.name, "")) for column in columns)


def _parts(snapshot: Snapshot, roles: Roles | None) -> dict[str, Role]:
    """The part of every column of the table, in its order."""
    parts: dict[str, Role] = {c.name: "passthrough" for c in snapshot.columns}
    if roles:
        parts |= dict.fromkeys(roles.key, "key")
        parts |= dict.fromkeys(roles.impute, "impute")
        parts |= dict.fromkeys(roles.predictors, "predictor")
    return parts


def _models(fitted: Fitted | None, rows: int) -> list[tuple[int, FillingModel]]:
    """The models that fill the rows, and how many rows each."""
    if fitted is None or fitted.result is None:
        return []
    own = [
        (fit.rows, fit.result.model) for fit in fitted.group_fits if fit.result and fit.own_model
    ]
    others = rows - sum(n for n, _ in own)
    return [*own, *([(others, fitted.result.model)] if others else [])]


def _on_its_own_scale(
    column: Column,
    roles: Roles,
    models: Sequence[tuple[int, FillingModel]],
    observed: Mapping[str, Digest],
) -> Column:
    """A column as the table shows it, and as the models that fill it estimate it there."""
    encoding = roles.encoding(column.name)
    if not isinstance(encoding, Numeric):
        return replace(column, observed=Moments(column.observed.count), em=Moments(0))
    if column.name not in roles.model_columns:
        return column
    column = replace(column, em=_estimated_moments(encoding, roles.at(column.name).start, models))
    if encoding.transform is IDENTITY:
        return column
    own = replace(observed[column.name].moments, count=column.observed.count)
    return replace(column, observed=own, transform=encoding.transform.name)


def _estimated_moments(
    encoding: Numeric, at: int, models: Sequence[tuple[int, FillingModel]]
) -> Moments:
    """Of a column for all rows: the models' own moments, mixed by the rows that each fills."""
    parts = [(n * share, part) for n, model in models for share, part in model.parts]
    rows = np.array([n for n, _ in parts])
    means, sds = encoding.own_moments(
        np.array([part.mean[at] for _, part in parts]), np.array([part.sd[at] for _, part in parts])
    )
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.average(means, weights=rows)
        sd = np.sqrt(np.average(sds**2 + (means - mean) ** 2, weights=rows))
    known = [float(value) if np.isfinite(value) else None for value in (mean, sd)]
    return Moments(sum(n for n, _ in models), *known)


def transformed_columns(roles: Roles) -> list[str]:
    """Return the columns that the model sees transformed."""
    return [
        encoding.column
        for encoding in roles.encodings
        if isinstance(encoding, Numeric) and encoding.transform is not IDENTITY
    ]


def _kurtosis(snapshot: Snapshot, roles: Roles, summary: PatternSummary) -> dict[str, float]:
    """Fourth standardised moments of the columns of numbers, as the model sees them."""
    names = [n for n in roles.model_columns if isinstance(roles.encoding(n), Numeric)]
    at = [roles.at(name).start for name in names]
    (mean, sd), totals, counts = (
        summary.observed_moments(),
        np.zeros(len(names)),
        np.zeros(len(names)),
    )
    mean, sd = mean[at], np.where(sd[at] > 0, sd[at], np.nan)
    for batch in read_batches(snapshot.path, names) if names else ():
        for j, name in enumerate(names):
            cells = (roles.encoding(name).encode(batch.column(name))[:, 0] - mean[j]) / sd[j]
            totals[j] += np.nansum(np.square(np.square(cells)))
            counts[j] += np.count_nonzero(~np.isnan(cells))
    kurtosis = totals / np.maximum(counts, 1)
    return dict(zip(names, kurtosis.tolist(), strict=True))


def digest_cells(
    found: Found, roles: Roles | None
) -> tuple[dict[str, Digest], dict[str, ImputedDigest]]:
    """Return what is known of the observed cells of some columns of numbers, and of imputed ones.

    These are the imputed columns and, of the observed cells, the transformed ones too.
    """
    snapshot, staged = found.snapshot, found.staged
    if snapshot is None or roles is None or found.fitted is None:
        return {}, {}
    filled = [name for name, cells in staged.imputed if cells] if staged else []
    filled = [name for name in filled if isinstance(roles.encoding(name), Numeric)]
    names = list(dict.fromkeys([*filled, *transformed_columns(roles)]))
    observed = digest(_observed_cells(snapshot, names), names)
    imputed = {
        name: ImputedDigest(observed[name].low, observed[name].high, _bounds(roles, name))
        for name in filled
    }
    for cells in _imputed_cells(staged, filled):
        for name, (values, sd) in cells.items():
            imputed[name].add(values, sd)
    return observed, imputed


def _bounds(roles: Roles, name: str) -> tuple[float, float] | None:
    encoding = roles.encoding(name)
    assert isinstance(encoding, Numeric)
    low, high = encoding.low, encoding.high
    if (low, high) == (-math.inf, math.inf):
        return None
    return (ceil_or_inf(low), floor_or_inf(high)) if encoding.whole else (low, high)


def _observed_cells(snapshot: Snapshot, names: Sequence[str]) -> Iterator[dict[str, Floats]]:
    """The observed cells of columns of numbers, in portions."""
    for batch in read_batches(snapshot.path, names) if names else ():
        cells = {name: to_matrix(batch, [name])[:, 0] for name in names}
        yield {name: column[np.isfinite(column)] for name, column in cells.items()}


def _imputed_cells(staged: Staged | None, names: Sequence[str]) -> Iterator[Cells]:
    """The imputed cells of columns of numbers, in portions, from the ledger."""
    for column, batch in _ledger(staged, names, ["value", "sd"]):
        values, sd = (batch[name].to_numpy(zero_copy_only=False) for name in ("value", "sd"))
        order = np.argsort(column, kind="stable")
        ends = np.searchsorted(column[order], np.arange(len(names) + 1))
        yield {
            name: (values[order[a:b]], sd[order[a:b]])
            for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)
            if a < b
        }


def _ledger(
    staged: Staged | None, names: Sequence[str], fields: Sequence[str]
) -> Iterator[tuple[Ints, pa.RecordBatch]]:
    """The ledger in batches, and for each cell which of `names` it is in; -1 for another column.

    Of several imputations the first.
    """
    if staged is None or not names:
        return
    left = staged.cells
    with pq.ParquetFile(staged.ledger) as ledger:
        for whole in ledger.iter_batches(columns=["column", *fields]):
            if not left:
                return
            batch = whole.slice(0, left)
            left -= batch.num_rows
            column = batch["column"]
            known = pc.index_in(column.dictionary, pa.array(names, pa.string())).fill_null(-1)
            yield known.to_numpy()[column.indices.to_numpy()].astype(np.int64), batch


def measure_distributions(
    found: Found,
    columns: Sequence[Column],
    observed: Mapping[str, Digest],
    imputed: Mapping[str, ImputedDigest],
) -> tuple[Distribution, ...]:
    """Return the histograms of the columns of numbers with the most imputed cells.

    Parameters
    ----------
    found : Found
    columns : sequence of Column
    observed : mapping of str to Digest
    imputed : mapping of str to ImputedDigest
        What `digest_cells` returns.
    """
    shown = [name for name in most_imputed(columns, len(columns)) if name in imputed]
    shown = shown[:MAX_DISTRIBUTIONS]
    if found.snapshot is None or not shown:
        return ()

    def filled() -> Iterable[Mapping[str, Floats]]:
        for cells in _imputed_cells(found.staged, shown):
            yield {name: values for name, (values, _) in cells.items()}

    return describe_distributions(
        shown,
        partial(_observed_cells, found.snapshot, shown),
        filled,
        (observed, {name: digest.cells for name, digest in imputed.items()}),
        logged=[column.name for column in columns if column.transform == "log"],
    )


def measure_levels(found: Found, columns: Sequence[Column]) -> tuple[LevelCounts, ...]:
    """Return the counts of the levels of the categories with the most imputed cells."""
    if found.snapshot is None or found.fitted is None or found.staged is None:
        return ()
    roles = found.fitted.roles
    encodings = {
        name: encoding
        for name in most_imputed(columns, len(columns))
        if isinstance(encoding := roles.encoding(name), Nominal | Ordinal)
    }
    names = list(encodings)[:MAX_DISTRIBUTIONS]
    seen = {name: np.zeros(len(encodings[name].levels), dtype=np.int64) for name in names}
    filled = {name: np.zeros_like(counts) for name, counts in seen.items()}
    for batch in read_batches(found.snapshot.path, names) if names else ():
        for name in names:
            codes = encodings[name].codes(batch.column(name))
            seen[name] += np.bincount(codes[codes >= 0], minlength=len(seen[name]))
    for column, batch in _ledger(found.staged, names, ["level"]):
        for j, name in enumerate(names):
            cells = batch["level"].filter(pa.array(column == j))
            known = pc.index_in(cells, pa.array(encodings[name].levels, pa.string()))
            filled[name] += np.bincount(known.to_numpy(), minlength=len(filled[name]))
    return tuple(
        LevelCounts(
            name, encodings[name].levels, tuple(seen[name].tolist()), tuple(filled[name].tolist())
        )
        for name in names
    )
