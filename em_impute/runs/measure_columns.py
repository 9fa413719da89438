"""The columns and their cells, observed and imputed, measured on the snapshot and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from em_impute.gaussian import Observed, PatternSummary
from em_impute.gaussian.arrays import Ints
from em_impute.gaussian.filling import FillingModel
from em_impute.reporting.columns import ImputedDigest, describe_columns
from em_impute.reporting.distributions import most_imputed
from em_impute.reporting.records import Column, LevelCounts, Role
from em_impute.runs.measure_cells import ledger
from em_impute.runs.run import Found
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.columns.unfilled import Unfilled
from em_impute.tables.digest import Digest, Moments
from em_impute.tables.groups import Fitted
from em_impute.tables.snapshot import Snapshot


def measure_columns(
    found: Found,
    roles: Roles | None,
    summary: PatternSummary | Observed | None,
    observed: Mapping[str, Digest],
    imputed: Mapping[str, ImputedDigest],
    kurtosis: Callable[[], Mapping[str, float]],
) -> tuple[Column, ...]:
    """Return every column of the table, described as far as the run came.

    Parameters
    ----------
    found : Found
    roles : Roles or None
        None describes what is missing, and no more.
    summary : PatternSummary, Observed or None
    observed : mapping of str to Digest
        What `ObservedDigests` has found.
    imputed : mapping of str to ImputedDigest
        What `digest_imputed` returns.
    kurtosis : callable
        Returns what `Kurtosis` has found.
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
    models, fourth = _models(found.fitted, snapshot.rows), kurtosis()
    return tuple(
        replace(
            _on_its_own_scale(column, roles, models, observed),
            kurtosis=fourth.get(column.name),
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


def measure_levels(
    found: Found, columns: Sequence[Column], counts: Callable[[], Mapping[str, Ints]]
) -> tuple[LevelCounts, ...]:
    """Return the counts of the levels of the categories with the most imputed cells.

    Parameters
    ----------
    found : Found
    columns : sequence of Column
    counts : callable
        Returns what `CountedLevels` has found.
    """
    if found.fitted is None or found.staged is None:
        return ()
    observed = counts()
    names = [name for name in most_imputed(columns, len(columns)) if name in observed]
    levels = {
        name: encoding.levels
        for name in names
        if isinstance(encoding := found.fitted.roles.encoding(name), Nominal | Ordinal)
    }
    filled = {name: np.zeros_like(observed[name]) for name in names}
    for column, batch in ledger(found.staged, names, ["level"]):
        for j, name in enumerate(names):
            cells = batch["level"].filter(pa.array(column == j))
            known = pc.index_in(cells, pa.array(levels[name], pa.string()))
            filled[name] += np.bincount(known.to_numpy(), minlength=len(filled[name]))
    return tuple(
        LevelCounts(
            name, levels[name], tuple(observed[name].tolist()), tuple(filled[name].tolist())
        )
        for name in names
    )
