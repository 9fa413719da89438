"""The steps of a run, in their order, as plain functions without Prefect.

`plugin.tasks` wraps them for the flow, `em-impute check` calls the first of them, and `em-impute
verify` those that compute the table again. What a step knows goes to its `log`, in sentences.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from em_impute import checks
from em_impute.checks import Checked, CheckResult
from em_impute.gaussian import DividedSummary, EMResult, GaussianModel, PatternSummary, Status
from em_impute.gaussian.families import FactorFit, MixtureFit
from em_impute.gaussian.filling import FittedModel
from em_impute.job import FAMILIES, CannotRun, Job, Stage
from em_impute.runs.frame import frame_of
from em_impute.runs.kept import is_overtaken
from em_impute.runs.model_rows import keep_summary, notes_on_rows
from em_impute.runs.passes import passes_of
from em_impute.runs.run import Loaded, Run
from em_impute.runs.survey import Survey
from em_impute.self_test import limits
from em_impute.self_test.run import score_hidden_cells
from em_impute.self_test.scores import SelfTest
from em_impute.tables import fill as filling
from em_impute.tables import groups, progress, spelling, summarise, targets
from em_impute.tables.columns import doubts
from em_impute.tables.columns import roles as columns
from em_impute.tables.columns.stored import save_roles
from em_impute.tables.columns.unfilled import find_unfilled, unfilled_in_words
from em_impute.tables.groups import Fitted
from em_impute.tables.imputations import Drawn, draw_models
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    Snapshot,
    read_schema,
    read_spelled,
)
from em_impute.tables.state.gathering import Gathered, ModelRows, gather, known_shape, remember
from em_impute.tables.state.kept import require_writable
from em_impute.tables.state.shape import Shape, with_known_levels
from em_impute.tables.whole_rows import fit_rows, read_rows, sample_in_words
from em_impute.tables.writing.staged import Published, Staged

Log = logging.Logger | logging.LoggerAdapter[Any]
Shown = AbstractContextManager[Callable[[FittedModel], object]]
"""What shows EM while it is entered, and gives what is to be called with the result."""

WITHOUT_DELTA = "Test cells are filled by the model as it is, without imputation.delta."
OF_SAMPLE = "a sample of {:,} of the table's {:,} rows"
SILENT = logging.Logger(__name__, level=logging.CRITICAL + 1)
UNSEEN: Shown = nullcontext(lambda _: None)


def load(job: Job, folder: RunFolder, log: Log = SILENT) -> Loaded:
    """Read the source into `folder` and decide what each column is for.

    Whether the job's checks can be carried out is seen before: a misspelt one is an error of the
    job, and nothing is read.

    Parameters
    ----------
    job : Job
    folder : RunFolder
        Where the snapshot is kept, and where one may be that was read before.
    log : Logger

    Raises
    ------
    CannotRun
        If the job or its source is wrong.
    """
    checks.verify_checks(job)
    known = known_shape(job)  # which refuses another job's state before anything is read
    if job.state:
        require_writable(job.state.folder)
    return assigned(read(job, folder, log), job, known)


def read(job: Job, folder: RunFolder, log: Log = SILENT) -> Snapshot:
    """Read the source into `folder`; a run that is tried again has read it already.

    What it had read is too old where another run has ended meanwhile: that one's table is newer.

    Parameters
    ----------
    job : Job
    folder : RunFolder
    log : Logger
    """
    snapshot = Snapshot.load(folder.read)
    if snapshot is not None and not is_overtaken(folder):
        log.info("Going on with the %s rows that were read before.", f"{snapshot.at_hand.rows:,}")
        return snapshot
    folder.read.unlink(missing_ok=True)
    snapshot = passes_of(job).read(folder.snapshot)
    snapshot.save(folder.read)
    log.info(
        "Read %s rows and %s columns from %s.",
        f"{snapshot.at_hand.rows:,}",
        len(snapshot.columns),
        job.source,
    )
    for note in filter(None, (snapshot.sample_in_words, *snapshot.notes)):
        log.info(note)
    return snapshot


def assigned(snapshot: Snapshot, job: Job, known: Shape | None = None) -> Loaded:
    """The snapshot with the part of each of its columns.

    Parameters
    ----------
    snapshot : Snapshot
    job : Job
    known : Shape, optional
        That of the job's state, whose levels of categories count as shown.

    Raises
    ------
    JobError
        If a column is not there, or cannot play its part.
    """
    return Loaded.of(snapshot, with_known_levels(columns.assign_roles(snapshot, job), known))


def preconditions(
    job: Job, table: Loaded, imputed_before: Collection[str] = ()
) -> tuple[CheckResult, ...]:
    """What is found of a table before the job's own checks see it.

    Parameters
    ----------
    job : Job
    table : Loaded
    imputed_before : collection of str
        The columns that the job's last run that published has filled.

    Raises
    ------
    CannotRun
        If a check, a limit of the self-test or the target does not go with the table.
    """
    roles = table.roles
    limits.check_limits(table, roles, job)
    targets.check_schema(filling.filled_schema(table, roles), job.target, roles.filled_key)
    checks.check_columns(job, roles.columns, roles.added)
    checks.check_rows(job, table.rows)
    checks.output_checks(job, roles.impute)
    return (
        *checks.check_preconditions(table.rows, table.columns, roles.model_columns),
        *checks.misfits(passes_of(job).misfits(table), table.rows),
        *checks.doubts(doubts.find_doubts(table, roles, job, imputed_before)),
    )


def check_input(
    job: Job,
    table: Loaded,
    imputed_before: Collection[str] = (),
    log: Log = SILENT,
    folder: RunFolder | None = None,
) -> Checked:
    """Check the table as it was read: preconditions of ours, then the job's own checks.

    Parameters
    ----------
    job : Job
    table : Loaded
    imputed_before : collection of str
        The columns that the job's last run that published has filled.
    log : Logger
    folder : RunFolder, optional
        Where the results of a project's suites are left, if the job wants them.

    Raises
    ------
    CannotRun
        If a check, a limit of the self-test or the target does not go with the table.
    """
    found = preconditions(job, table, imputed_before)
    own, theirs = job.checks.input, checks.take(job, "input", _results_of("input", folder))
    schema = read_schema(table.path)
    needed = checks.columns_needed(own, schema.names, theirs)
    batches = map(spelling.as_read, read_spelled(table.path, needed))
    option, most = job.most_checked
    frame = frame_of(schema, batches, needed, table.at_hand.rows, most)
    return _logged(checks.check_input(frame, own, found, table.rows, option, theirs), log)


def fit(
    job: Job,
    table: Loaded,
    folder: RunFolder,
    log: Log = SILENT,
    shown: Shown = UNSEEN,
    rows: ModelRows | None = None,
) -> Fitted:
    """Estimate the model: one pass over the snapshot, then EM on the summary.

    Of a job with a state the pass is over what is new, and the summary has the rest from there.

    Parameters
    ----------
    job : Job
    table : Loaded
    folder : RunFolder
        Where the summary and the model are left.
    log : Logger
    shown : context manager
        Entered while EM runs.
    rows : ModelRows, optional
        The rows of the model, where they are known already.
    """
    roles = table.roles
    rows = rows or _gathered(job, table, folder, log)
    gathered = rows if isinstance(rows, Gathered) else None
    told = gathered.sentences if gathered else ()
    if not (roles.impute or roles.clusters or roles.scores):
        log.info("No column is to be imputed, so no model is fitted.")
        drawn = _drawn(job, table, None, {}, log)
        return Fitted(roles, None, decisions=told, drawn=drawn, gathered=gathered)
    summed_up = nullcontext(rows.summary) if rows else passes_of(job).summarise(table, log)
    with summed_up as summary:
        log.info("Fitting %s columns; %s", len(roles.dimensions), keep_summary(summary, folder))
        if folder.checkpoint.exists():
            log.info("Going on from where the fit was interrupted.")
        with shown as ended:
            result = _fit_model(job, table, summary, rows.start if rows else None, folder)
            ended(result)
    result.model.save(folder.model)
    save_roles(roles, read_schema(table.path), folder.columns)
    models, decisions, fits = groups.fit_groups(table, roles, job.model)
    if roles.group_by:
        groups.save_models(models, folder.groups)
        log.info("Fitted a model to each of %s groups.", len(models))
    decisions = (*result.decisions, *decisions)
    for sentence in decisions:
        log.warning(sentence)
    log.log(logging.INFO if result.converged else logging.WARNING, result.message)
    own = [fit.result for fit in fits if fit.own_model]
    drawn = _drawn(job, table, result, dict(zip(models, own, strict=True)), log)
    notes = (*notes_on_rows(folder), *_notes(job, table, result))
    return Fitted(roles, result, models, (*told, *decisions), fits, drawn, gathered, notes)


def _gathered(job: Job, table: Loaded, folder: RunFolder, log: Log) -> Gathered | None:
    """The rows of the model where the job has a state: tonight's, and those that it keeps."""
    if job.state is None or not table.roles.model_columns:
        return None
    gathered = gather(job, table, table.roles, folder.path)
    gathered.save(folder)
    for sentence in gathered.sentences:
        log.warning(sentence)
    log.info(
        "Summed up %s rows; the state %s has the other %s of the model's %s rows.",
        f"{gathered.rows_read:,}",
        job.state.path,
        f"{gathered.rows_kept:,}",
        f"{gathered.summary.n_rows:,}",
    )
    return gathered


def _notes(job: Job, table: Loaded, result: FittedModel) -> Iterator[str]:
    """What of a model of rows was decided in the usual course."""
    if sampled := sample_in_words(table, table.roles, job.model):
        yield sampled
    if isinstance(result, MixtureFit | FactorFit) and len(result.bics) > 1:
        yield (
            f"The {FAMILIES[job.model.family]} has {result.in_words}, the best by BIC of 1 to "
            f"{max(result.bics)}."
        )


def _fit_model(
    job: Job,
    table: Loaded,
    summary: PatternSummary | DividedSummary,
    begin: GaussianModel | None,
    folder: RunFolder,
) -> FittedModel:
    if job.model.is_of_rows:
        return _fit_rows(job, table)

    def fitted(start: GaussianModel | None) -> EMResult:
        on_iteration = progress.iterations(job.model.tol)
        return summarise.fit_model(summary, job.model, on_iteration, folder.checkpoint, start=start)

    result = fitted(begin)
    # An earlier night's model is a good place to begin, but none to fail from.
    failed = result.status in (Status.SINGULAR, Status.SADDLE)
    return fitted(None) if failed and begin else result


def _fit_rows(job: Job, table: Loaded) -> FittedModel:
    try:
        on_iteration = progress.iterations(job.model.tol)
        return fit_rows(read_rows(table, table.roles), job.model, on_iteration)
    except ValueError as error:
        raise CannotRun(f"The {FAMILIES[job.model.family]} cannot be fitted: {error}") from None


def _drawn(
    job: Job,
    table: Loaded,
    result: FittedModel | None,
    groups: Mapping[str, FittedModel | None],
    log: Log,
) -> Drawn | None:
    """The models of several imputations, where the job asks for several."""
    if not job.imputation.is_multiple:
        return None
    # Of another family several imputations are no job.
    assert result is None or isinstance(result, EMResult)
    own = {label: fit for label, fit in groups.items() if isinstance(fit, EMResult)}
    drawn = draw_models(result, own, job.imputation, partial(passes_of(job).resample, table))
    if drawn.mixing:
        log.info("Drew the models of %s imputations: %s", len(drawn.models), drawn.mixing.sentence)
    for sentence in filter(None, (*drawn.warnings, drawn.refusal)):
        log.warning(sentence)
    return drawn


def fill(
    job: Job,
    table: Loaded,
    fitted: Fitted,
    folder: RunFolder,
    log: Log = SILENT,
    survey: Survey | None = None,
) -> Staged:
    """Stage the table with its holes filled, in the target's format, and write the cell ledger.

    Parameters
    ----------
    job : Job
    table : Loaded
    fitted : Fitted
    folder : RunFolder
        Where the staged table and the ledger are left.
    log : Logger
    survey : Survey, optional
        Looks on.
    """
    onto, on_batch = targets.version(job.target), survey.while_filling() if survey else None
    staged = replace(passes_of(job).fill(table, fitted, folder, on_batch), onto=onto)
    if survey:
        survey.filled(staged)
    times = f", {staged.imputations} times" if staged.imputations > 1 else ""
    log.info("Filled %s cells of %s rows%s.", f"{staged.cells:,}", f"{table.rows:,}", times)
    for sentence in filling.shifts_in_words(fitted.roles, job.imputation):
        log.info(sentence)
    for sentence in unfilled_in_words(find_unfilled(table, fitted.roles, job.columns)):
        log.warning(sentence)
    return staged


def self_test(
    job: Job,
    table: Loaded,
    fitted: Fitted,
    log: Log = SILENT,
    survey: Survey | None = None,
) -> SelfTest | None:
    """Hide observed cells and see how well they are filled; the table is not touched.

    Parameters
    ----------
    job : Job
    table : Loaded
    fitted : Fitted
    log : Logger
    survey : Survey, optional
        Has chosen the cells to hide while the table was filled, and looks on.
    """
    hidden, on_batch = (survey.hidden, survey.while_gathering()) if survey else (None, None)
    tested = score_hidden_cells(table.at_hand, fitted, job.self_test, job.model, hidden, on_batch)
    if tested is None:
        log.info("There is no self-test: it is off, or no cell is to be filled.")
        return None
    shifted = WITHOUT_DELTA if filling.shifts_in_words(fitted.roles, job.imputation) else ""
    sample = f"Of {OF_SAMPLE.format(table.at_hand.rows, table.rows)}." if table.sample else ""
    tested = replace(tested, note=" ".join(filter(None, (sample, shifted, tested.note))))
    log.info("Self-test: %s", " ".join(filter(None, (tested.sentence, tested.note))))
    for sentence in filter(None, (tested.refusal, *tested.warnings)):
        log.warning(sentence)
    return tested


def check_output(
    job: Job,
    table: Loaded,
    fitted: Fitted,
    staged: Staged,
    log: Log = SILENT,
    folder: RunFolder | None = None,
) -> Checked:
    """Check the staged table: nothing but the holes has changed, then the job's own checks.

    Parameters
    ----------
    job : Job
    table : Loaded
    fitted : Fitted
    staged : Staged
    log : Logger
    folder : RunFolder, optional
        Where the results of a project's suites are left, if the job wants them.
    """
    passes = passes_of(job)
    invariants = passes.compare(table, fitted, staged)
    own, theirs = checks.output_checks(job, fitted.roles.impute, _results_of("output", folder))
    names = filling.filled_schema(table, fitted.roles).names
    needed = checks.columns_needed(own, names, theirs)
    schema, batches, rows = passes.filled(table, fitted, staged, needed)
    option, most = job.most_checked
    frame = frame_of(schema, batches, needed, rows, most)
    return _logged(checks.check_output(frame, own, invariants, staged.rows, option, theirs), log)


def publish(run: Run, staged: Staged, log: Log = SILENT) -> Published:
    """Move the staged table onto the target, in one atomic step.

    Parameters
    ----------
    run : Run
    staged : Staged
    log : Logger
    """
    with suppress(OSError):  # a disk that is full for this file need not be that of the target
        run.folder.publishing.touch()
    published = targets.publish(staged, run.job.target, run.publication)
    # That this run itself was tried before is no news.
    published = replace(published, before=published.before and run.id not in run.publication)
    log.info("Published %s rows to %s.", f"{published.rows:,}", published.target)
    if published.warning:
        log.warning(published.warning)
    return published


def update_state(job: Job, fitted: Fitted | None, log: Log = SILENT) -> str:
    """Add the rows of a run that has published to its job's state.

    Parameters
    ----------
    job : Job
    fitted : Fitted or None
    log : Logger

    Returns
    -------
    str
        Why that could not be, a sentence; empty if it was, or the job has no state.
    """
    if fitted is None or fitted.gathered is None:
        return ""
    result = fitted.result
    model = result.model if isinstance(result, EMResult) and result.converged else None
    warning = remember(job, fitted.gathered, model)
    if warning:
        log.warning(warning)
    else:
        log.info("The state %s has the rows of this run.", job.state and job.state.path)
    return warning


def _results_of(stage: Stage, folder: RunFolder | None) -> Path | None:
    return folder.validation(stage) if folder else None


def _logged(checked: Checked, log: Log) -> Checked:
    if checked.note:
        log.info(checked.note)
    for sentence in (checked.refusal, *checked.warnings):
        if sentence:
            log.warning(sentence)
    if not (checked.refusal or checked.warnings):
        log.info("All %s checks of the %s passed.", len(checked.results), checked.stage)
    return checked
