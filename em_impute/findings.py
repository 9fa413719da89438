"""What a run is and what it has found, from which its report is made. No Prefect in here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from em_impute.gaussian import EMResult, GaussianModel, PatternSummary, Status
from em_impute.job import CannotRun, Job
from em_impute.reporting import diagnostics
from em_impute.reporting.self_test import SelfTest
from em_impute.tables.columns import Roles, assign_roles, to_matrix
from em_impute.tables.encoding import Number
from em_impute.tables.fill import Staged
from em_impute.tables.run_folder import Manifest, RunFolder
from em_impute.tables.sources import Snapshot, read_batches
from em_impute.tables.targets import Published
from em_impute.tables.transforms import IDENTITY
from em_impute.validation import Checked


class Refused(Exception):
    """The table must not be published; the message is the reason, a sentence."""


EXPECTED = (CannotRun, Refused, OSError)
"""What may stop a run without being a fault of the program."""


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Attributes
    ----------
    id : str
        Name of the run's folder.
    job : Job
    folder : RunFolder
    started : datetime
    """

    id: str
    job: Job
    folder: RunFolder
    started: datetime

    @property
    def key(self) -> str:
        """The job's name as Prefect accepts it in artifact keys."""
        return re.sub(r"[^a-z0-9]+", "-", self.job.name.lower()).strip("-")


@dataclass(frozen=True)
class Fitted:
    """What the fit step leaves.

    Attributes
    ----------
    roles : Roles
        The columns' parts.
    result : EMResult or None
        The fit to all rows; None with nothing to impute.
    groups : dict of str to GaussianModel
        The models of groups, by label; the rows of all others have that of `result`.
    decisions : tuple of str
        What was decided on the way, a sentence each.
    """

    roles: Roles
    result: EMResult | None
    groups: dict[str, GaussianModel] = field(default_factory=dict)
    decisions: tuple[str, ...] = ()


@dataclass
class Found:
    """What a run has found so far; the report is made of it, wherever the run stopped."""

    snapshot: Snapshot | None = None
    before: Checked | None = None
    fitted: Fitted | None = None
    staged: Staged | None = None
    tested: SelfTest | None = None
    after: Checked | None = None
    published: Published | None = None
    stopped_by: Exception | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what a reader should know before trusting the table."""
        result = self.fitted.result if self.fitted else None
        return (
            *(self.before.warnings if self.before else ()),
            *(self.fitted.decisions if self.fitted else ()),
            *([result.message] if result and not result.converged else ()),
            *(self.tested.warnings if self.tested else ()),
            *(self.after.warnings if self.after else ()),
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    verdict : Verdict
        Published, published with warnings or not published, and why.
    stopped_by : Exception or None
        What stopped the run.
    fit : str
        How the fit ended, a sentence; empty if there was none.
    tested : str
        What the self-test says, likewise.
    cells : tuple of (str, int)
        Imputed cells of each column.
    target : str
    report : Path
    """

    verdict: diagnostics.Verdict
    stopped_by: Exception | None
    fit: str
    tested: str
    cells: tuple[tuple[str, int], ...]
    target: str
    report: Path


def stop_if_refused(found: Found) -> None:
    """Stop the run if what was found forbids publishing.

    Raises
    ------
    Refused
        With the reason.
    """
    result = found.fitted.result if found.fitted else None
    if result and result.status is Status.SINGULAR:
        raise Refused(result.message)
    for checked in (found.before, found.after, found.tested):
        if checked and checked.refusal:
            raise Refused(checked.refusal)


def report_numbers(run: Run, found: Found) -> diagnostics.Report:
    """What the report says, as far as the run came."""
    snapshot, fitted, staged = found.snapshot, found.fitted, found.staged
    result = fitted.result if fitted else None
    summary = PatternSummary.load(run.folder.summary) if result else None
    filled = partial(_imputed_cells, staged)
    imputed = diagnostics.digest(filled(), [name for name, _ in staged.imputed] if staged else ())
    counts = {name: diagnostics.Moments(cells) for name, cells in staged.imputed} if staged else {}
    described = diagnostics.describe_columns(
        _roles(run, found),
        {column.name: column.missing for column in snapshot.columns} if snapshot else {},
        snapshot.rows if snapshot else 0,
        summary=summary,
        model=result.model if result else None,
        imputed=counts | {name: d.moments for name, d in imputed.items() if d.moments.count},
    )
    if snapshot and fitted and result:
        described = tuple(_on_its_own_scale(c, snapshot, fitted.roles, result) for c in described)
    shown = [name for name in diagnostics.most_imputed(described) if imputed[name].moments.count]
    return diagnostics.Report(
        job=run.job.name,
        run=run.id,
        started=run.started.isoformat(timespec="seconds"),
        source=str(run.job.source),
        target=str(run.job.target),
        verdict=diagnostics.judge(
            refusal=str(found.stopped_by) if found.stopped_by else None,
            warnings=found.warnings,
            imputed_cells=staged.cells if staged else 0,
            target=str(run.job.target),
        ),
        rows=snapshot.rows if snapshot else 0,
        columns=described,
        fit=diagnostics.describe_fit(result, run.job.model.tol) if result else None,
        patterns=diagnostics.describe_patterns(summary) if summary else None,
        distributions=diagnostics.describe_distributions(
            shown, partial(_observed_cells, snapshot, shown), filled
        )
        if snapshot and shown
        else (),
        checks=tuple(
            diagnostics.CheckRow(
                checked.stage,
                check.name,
                check.expected,
                check.observed,
                check.severity,
                check.success,
                check.column,
            )
            for checked in (found.before, found.after)
            if checked
            for check in checked.results
        ),
        decisions=(
            *(fitted.decisions if fitted else ()),
            *(checked.note for checked in (found.before, found.after) if checked and checked.note),
        ),
        drawn=run.job.imputation.method == "draw",
        self_test=found.tested,
    )


def _roles(run: Run, found: Found) -> dict[str, diagnostics.Role]:
    """The part of every column of the table, in its order; also of a run refused before the fit."""
    if found.snapshot is None:
        return {}
    parts: dict[str, diagnostics.Role] = {c.name: "passthrough" for c in found.snapshot.columns}
    try:
        roles = found.fitted.roles if found.fitted else assign_roles(found.snapshot, run.job)
    except CannotRun:
        return parts  # the verdict says why no column has a part
    parts |= dict.fromkeys(roles.key, "key")
    parts |= dict.fromkeys(roles.impute, "impute")
    parts |= dict.fromkeys(roles.predictors, "predictor")
    return parts


def _on_its_own_scale(
    column: diagnostics.Column, snapshot: Snapshot, roles: Roles, result: EMResult
) -> diagnostics.Column:
    """A column that the model sees transformed or as scores, as the table shows it."""
    encoding, observed = roles.encoding(column.name), column.observed
    if isinstance(encoding, Number) and encoding.transform is not IDENTITY:
        at, model = roles.at(column.name), result.model
        mean, sd = encoding.own_moments(model.mean[at], model.sd[at])
        cells = diagnostics.digest(_observed_cells(snapshot, [column.name]), [column.name])
        return replace(
            column,
            observed=cells[column.name].moments,
            em=diagnostics.Moments(snapshot.rows, mean, sd),
        )
    if isinstance(encoding, Number):
        return column
    return replace(column, observed=diagnostics.Moments(observed.count), em=diagnostics.Moments(0))


def _imputed_cells(staged: Staged | None) -> Iterator[dict[str, diagnostics.Floats]]:
    """The filled cells of each imputed column of numbers, in portions, from the ledger."""
    if staged is None:
        return
    names = [name for name, cells in staged.imputed if cells]
    with pq.ParquetFile(staged.ledger) as ledger:
        for batch in ledger.iter_batches(columns=["column", "value"]):
            columns = batch["column"].dictionary_decode()
            values = batch["value"].to_numpy(zero_copy_only=False)
            which = pc.index_in(columns, pa.array(names, pa.string())).to_numpy()
            cells = {name: values[which == j] for j, name in enumerate(names)}
            # The level of a category is no number.
            yield {name: column[~np.isnan(column)] for name, column in cells.items()}


def _observed_cells(
    snapshot: Snapshot, names: Sequence[str]
) -> Iterator[dict[str, diagnostics.Floats]]:
    """The observed cells of numeric columns, in portions."""
    for batch in read_batches(snapshot.path, names):
        cells = {name: to_matrix(batch, [name])[:, 0] for name in names}
        yield {name: column[~np.isnan(column)] for name, column in cells.items()}


def manifest(run: Run, snapshot: Snapshot, found: Found, numbers: diagnostics.Report) -> Manifest:
    """What ran on what, with which outcome."""
    return Manifest(
        run=run.id,
        job=run.job,
        snapshot=snapshot,
        published=found.published,
        cells=found.staged.cells if found.staged else 0,
        table=found.staged.sha256 if found.staged else None,
        outputs=run.folder.hashes(),
        started=run.started,
        finished=datetime.now(UTC),
        verdict=numbers.verdict.sentence,
    )
