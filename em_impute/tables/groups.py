"""Groups of rows with a model each: which group a row is in, their summaries and their models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from em_impute.gaussian import Status
from em_impute.gaussian.filling import FillingModel, FittedModel
from em_impute.job import FAMILIES, CannotRun, ModelOptions
from em_impute.tables.columns.encoding import as_labels
from em_impute.tables.columns.roles import Roles
from em_impute.tables.imputations import Drawn, Models
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.state.gathering import Gathered
from em_impute.tables.whole_rows import Data, encoded, fit_data, nothing_yet, sampled

# More groups than this are rows told apart, not groups.
MOST_GROUPS = 1000
TOO_FEW = "too few rows"
SEPARATOR = pa.scalar("\x1f", pa.large_string())


@dataclass(frozen=True)
class GroupFit:
    """How the fit of a group went.

    Attributes
    ----------
    label : str
        Its levels, as a reader knows them.
    rows : int
    result : FittedModel or None
        None without a fit: the group is too small, or its rows determine no model.
    status : str
        That of the fit, or why there is none.
    """

    label: str
    rows: int
    result: FittedModel | None
    status: str

    @property
    def own_model(self) -> bool:
        """Whether its rows are filled by its own model, not by that of all rows."""
        return self.result is not None and self.result.converged


@dataclass(frozen=True)
class Fitted:
    """What the fit step leaves.

    Attributes
    ----------
    roles : Roles
        The columns' parts.
    result : FittedModel or None
        The fit to all rows; None with nothing to impute and nothing to tell of rows.
    groups : dict of str to FillingModel
        The models of groups, by label; the rows of all others have that of `result`.
    decisions : tuple of str
        What was decided on the way, a sentence each.
    group_fits : tuple of GroupFit
        How the fit of each group went.
    drawn : Drawn or None
        The models of several imputations, where several are asked for.
    gathered : Gathered or None
        The rows of the model, where the job has a state.
    notes : tuple of str
        What was decided in the usual course, a sentence each: nothing to warn of.
    """

    roles: Roles
    result: FittedModel | None
    groups: dict[str, FillingModel] = field(default_factory=dict)
    decisions: tuple[str, ...] = ()
    group_fits: tuple[GroupFit, ...] = ()
    drawn: Drawn | None = None
    gathered: Gathered | None = None
    notes: tuple[str, ...] = ()

    @property
    def refusal(self) -> str:
        """Why nothing can be filled with it; empty if it can."""
        if self.result and self.result.status is Status.SINGULAR:
            return self.result.message
        return self.drawn.refusal if self.drawn else ""


def group_rows(batch: pa.RecordBatch, roles: Roles) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield each group of a batch by its label, with the numbers of its rows, from 0."""
    texts = [as_labels(batch.column(name)) for name in roles.group_by]
    labels = pc.binary_join_element_wise(
        *texts, SEPARATOR, null_handling="replace", null_replacement="\0"
    ).dictionary_encode()
    codes = labels.indices.to_numpy()
    for code, label in enumerate(labels.dictionary.to_pylist()):
        yield label, np.flatnonzero(codes == code)


def models_of(
    batch: pa.RecordBatch, models: Models, roles: Roles
) -> Iterator[tuple[FillingModel, NDArray[np.int64]]]:
    """Yield each model that fills rows of a batch, with the numbers of these rows, from 0.

    Parameters
    ----------
    batch : RecordBatch
    models : Models
        With a model of all rows.
    roles : Roles
    """
    assert models.of_all is not None
    parts = group_rows(batch, roles) if models.of_groups else [("", np.arange(batch.num_rows))]
    for label, rows in parts:
        yield models.of_groups.get(label, models.of_all), rows


def summarise_groups(snapshot: Snapshot, roles: Roles, options: ModelOptions) -> dict[str, Data]:
    """Take the model's columns of each group as its family needs them, in one pass.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    options : ModelOptions

    Raises
    ------
    CannotRun
        If there are more groups than a table could mean.
    """
    return sum_up_groups(encoded(snapshot, roles), snapshot.rows, roles, options)


def sum_up_groups(
    portions: Iterable[tuple[pa.RecordBatch, NDArray[np.float64]]],
    rows: int,
    roles: Roles,
    options: ModelOptions,
) -> dict[str, Data]:
    """The same of rows that come in portions, as cells and as the model takes them.

    Parameters
    ----------
    portions : iterable of (RecordBatch, ndarray)
    rows : int
        How many there are in all.
    roles : Roles
    options : ModelOptions
    """
    groups: dict[str, Data] = {}
    for batch, X in sampled(portions, rows, roles) if options.is_of_rows else portions:
        for label, at in group_rows(batch, roles):
            data = groups.setdefault(label, nothing_yet(options, roles.dimensions))
            data.update(X[at])
        if len(groups) > MOST_GROUPS:
            raise CannotRun(
                f"columns.group_by: {', '.join(roles.group_by)} makes more than {MOST_GROUPS:,} "
                "groups; group by fewer columns, or by coarser ones."
            )
    return dict(sorted(groups.items()))


def fit_groups(
    snapshot: Snapshot, roles: Roles, options: ModelOptions
) -> tuple[dict[str, FillingModel], tuple[str, ...], tuple[GroupFit, ...]]:
    """A model for each group that is large enough for one, a sentence on the others, and how.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    options : ModelOptions
    """
    if not roles.group_by:
        return {}, (), ()
    return fit_summaries(summarise_groups(snapshot, roles, options), roles, options)


def fit_summaries(
    summaries: Mapping[str, Data], roles: Roles, options: ModelOptions
) -> tuple[dict[str, FillingModel], tuple[str, ...], tuple[GroupFit, ...]]:
    """The same, of groups that are summed up.

    Parameters
    ----------
    summaries : mapping of str to PatternSummary or WholeRows
        Of each group, by label.
    roles : Roles
    options : ModelOptions
    """
    # A factor model has no covariance of all columns that needs as many rows.
    of_columns = 0 if options.is_factor else 5 * len(roles.dimensions)
    least = options.min_group_rows or max(50, of_columns)
    fits = {label: _fit(label, s, options, least) for label, s in summaries.items()}
    models = {
        label: fit.result.model for label, fit in fits.items() if fit.result and fit.own_model
    }
    small = sum(fit.status == TOO_FEW for fit in fits.values())
    left = len(summaries) - small - len(models)
    reasons = [
        f"{small} with fewer than {least} rows" if small else "",
        f"{left} whose rows do not determine a model" if left else "",
    ]
    those = " and ".join(filter(None, reasons))
    sentence = f"Of {len(summaries)} groups, {those} are filled by the model of all rows."
    return models, ((sentence,) if those else ()), tuple(fits.values())


def _fit(label: str, summary: Data, options: ModelOptions, least: int) -> GroupFit:
    shown = " / ".join(level.replace("\0", "(missing)") for level in label.split("\x1f"))
    if summary.n_rows < least:
        return GroupFit(shown, summary.n_rows, None, TOO_FEW)
    try:
        result = fit_data(summary, options)
    except ValueError:
        # A column that the group never shows: that is for all rows to settle.
        of_rows = f"its rows determine no {FAMILIES[options.family]}"
        why = of_rows if options.is_of_rows else "a column shows nothing"
        return GroupFit(shown, summary.n_rows, None, why)
    return GroupFit(shown, summary.n_rows, result, result.status.value)


def save_models(models: Mapping[str, FillingModel], path: Path) -> None:
    """Write the models of groups to a JSON file, by the groups' labels."""
    content = {
        label: {name: value for name, value in model.to_dict().items() if name != "columns"}
        for label, model in models.items()
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
