"""What a run is and what it has found, from which its report is made. No Prefect in here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from em_impute.gaussian import EMResult, GaussianModel, PatternSummary, Status
from em_impute.job import CannotRun, FileTarget, Job
from em_impute.reporting import diagnostics
from em_impute.tables.columns import Roles, assign_roles, to_matrix
from em_impute.tables.encoding import Number
from em_impute.tables.fill import Staged
from em_impute.tables.run_folder import Manifest, RunFolder, read_manifests
from em_impute.tables.sources import Snapshot, read_batches
from em_impute.tables.targets import Published
from em_impute.tables.transforms import IDENTITY
from em_impute.validation import Checked


class Refused(Exception):
    """The table must not be published; the message is the reason, a sentence."""


class TookTooLong(TimeoutError):
    """The run has come to its time limit."""


class Unforeseen(Exception):
    """A fault of the program, in a sentence; the log has the rest."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(f"The run failed by a fault of the program ({type(fault).__name__}).")


EXPECTED = (CannotRun, Refused, OSError)
"""What may stop a run without being a fault of the program."""

Stop = Literal["refused", "cannot run", "failed"]
"""By its checks; because job, source or target are wrong; by anything else, such as a full disk."""


_APPENDED_BEFORE = (
    "The rows of this date had been appended to the target before, so nothing was added; with "
    "mode: upsert they would be replaced."
)


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
        For which it was scheduled.
    date : date
        The day that its data are about.
    publication : str
        What is published once under this name: the run's table, or the rows of a day to append.
    """

    id: str
    job: Job
    folder: RunFolder
    started: datetime
    date: date
    publication: str

    @property
    def key(self) -> str:
        """The job's name as Prefect accepts it in artifact keys."""
        return artifact_key(self.job.name)


def artifact_key(job: str) -> str:
    """A job's name as Prefect accepts it in artifact keys."""
    return re.sub(r"[^a-z0-9]+", "-", job.lower()).strip("-")


def published_dates(runs: Path, job: Job) -> set[date]:
    """The data dates that a job has published to where it would publish them today.

    A file or folder that has gone since does not count.
    """
    return {
        day
        for _, manifest in read_manifests(runs / job.name)
        if manifest["target"] is not None and "date" in manifest
        for day in [date.fromisoformat(manifest["date"])]
        for target in [job.at(day).target]
        if target.model_dump(mode="json") == manifest["definition"]["target"]
        and not (isinstance(target, FileTarget) and not Path(target.path).exists())
    }


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
    after: Checked | None = None
    published: Published | None = None
    stopped_by: Exception | None = None

    @property
    def stopped(self) -> Stop | None:
        """What kind of thing stopped the run."""
        match self.stopped_by:
            case None:
                return None
            case Refused():
                return "refused"
            case CannotRun():
                return "cannot run"
        return "failed"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what a reader should know before trusting the table."""
        result = self.fitted.result if self.fitted else None
        return (
            *(self.before.warnings if self.before else ()),
            *(self.fitted.decisions if self.fitted else ()),
            *([result.message] if result and not result.converged else ()),
            *(self.after.warnings if self.after else ()),
            *([_APPENDED_BEFORE] if self.published and self.published.before else ()),
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    verdict : Verdict
        Published, published with warnings or not published, and why.
    stopped : {"refused", "cannot run", "failed"} or None
        What kind of thing stopped the run.
    fit : str
        How the fit ended, a sentence; empty if there was none.
    cells : tuple of (str, int)
        Imputed cells of each column.
    target : str
    report : Path
    """

    verdict: diagnostics.Verdict
    stopped: Stop | None
    fit: str
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
    for checked in (found.before, found.after):
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
        date=run.date,
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
