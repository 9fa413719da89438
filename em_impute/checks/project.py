"""A project of Great Expectations (GX): its suites on our table, and its checkpoints' actions.

The project is read where it is. The table is not made known to it: suites are carried out as the
job's own checks are, and what came out is stored and handed to the actions as a checkpoint's own
results are. So nothing of the job's is left in its configuration.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from em_impute.checks.actions import act, failure
from em_impute.checks.domain import telling_imputed
from em_impute.checks.great_expectations import (
    COUNTS_ONLY,
    ResultFormat,
    evaluate,
    quiet,
    read_project,
)
from em_impute.checks.results import CheckResult
from em_impute.job import Check, Job, JobError, Problem, Stage
from em_impute.job.confinement import OutsideError, holding_code
from em_impute.job.legible import one_line
from em_impute.job.mistakes import did_you_mean, listed

if TYPE_CHECKING:
    from great_expectations.checkpoint.checkpoint import Checkpoint
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.file_data_context import FileDataContext
    from great_expectations.data_context.store.store import Store
    from great_expectations.datasource.fluent.interfaces import Batch

CONFIGURATION = "great_expectations.yml"


@dataclass(frozen=True)
class Suite:
    """A suite of a project: as GX has it, and its expectations in the form of a job's checks."""

    of_project: ExpectationSuite
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, suite: ExpectationSuite) -> Suite:
        """The suite with its expectations as checks, in its own order."""
        return cls(suite, tuple(map(_check, suite.expectation_configurations)))


def _check(configuration: Any) -> Check:
    written = configuration.to_json_dict()
    documentation = {key: written[key] for key in ("description", "notes") if written.get(key)}
    return Check(
        expectation=configuration.type,
        kwargs={**written["kwargs"], **documentation},
        severity=written.get("severity", "critical"),
    )


@dataclass(frozen=True)
class Taken:
    """What a job takes of a project for one of its tables.

    Attributes
    ----------
    stage : {"input", "output"}
    table : str
        What the table is called in the project's results.
    place : str
        Where in the job the suites are named.
    context : FileDataContext
    suites : tuple of Suite
    checkpoint : Checkpoint or None
        Whose actions are run.
    results : str or None
        The result format of what is left in `file`.
    file : Path or None
        Where GX's own results are left, if the job wants them: in the folder of the run, by whose
        name the project knows the run.
    """

    stage: Stage
    table: str
    place: str
    context: FileDataContext
    suites: tuple[Suite, ...]
    checkpoint: Checkpoint | None
    results: ResultFormat | None
    file: Path | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """The expectations of all suites."""
        return tuple(check for suite in self.suites for check in suite.checks)

    @property
    def result_format(self) -> ResultFormat:
        """That of the checkpoint; without one, that of the results which are kept."""
        wanted = self.checkpoint.result_format if self.checkpoint else self.results
        if isinstance(wanted, dict) and wanted.get("result_format") == "BOOLEAN_ONLY":
            return "BOOLEAN_ONLY"
        return getattr(wanted, "value", wanted) or COUNTS_ONLY

    @property
    def reads_all(self) -> bool:
        """Whether a result format that is a mapping may name further columns, as a key is."""
        return self.checkpoint is not None and isinstance(self.result_format, dict)

    def telling_imputed(self, imputed: Sequence[str]) -> Taken:
        """The same with the mask's bits in checks of imputed cells."""
        suites = (
            replace(suite, checks=tuple(telling_imputed(check, imputed) for check in suite.checks))
            for suite in self.suites
        )
        return replace(self, suites=tuple(suites))

    def validate(
        self, batch: Batch, frame: pd.DataFrame, rows: int
    ) -> tuple[list[CheckResult], tuple[str, ...]]:
        """Carry out the suites, keep the results and run the actions of the checkpoint.

        Parameters
        ----------
        batch : Batch
            That of `frame`.
        frame : DataFrame
        rows : int
            Rows of the table, of which `frame` may hold a sample.

        Returns
        -------
        list of CheckResult
        tuple of str
            A sentence for each thing that could not be done with the results.
        """

        def carried_out(result_format: ResultFormat) -> list[SuiteResult]:
            return [_carry_out(each, batch, frame, rows, result_format) for each in self.suites]

        found = carried_out(self.result_format)
        kept = found
        if self.results and self.results != self.result_format:
            kept = carried_out(self.results)
        not_done = list(self._keep([suite.answer for suite in kept]))
        if self.checkpoint:
            answers = [suite.answer for suite in found]
            run = self.file.parent.name if self.file else self.table
            not_done += act(self.checkpoint, self.context, answers, run, self.stage)
        return [result for suite in found for result in suite.results], tuple(not_done)

    def _keep(self, answers: Sequence[ExpectationSuiteValidationResult]) -> Iterator[str]:
        """Leave GX's own results in the run's folder, if the job wants them."""
        file = self.file
        if file is None or self.results is None:
            return

        def write() -> None:
            part = file.with_name(f".{file.name}.part")
            written = [answer.to_json_dict() for answer in answers]  # type: ignore[no-untyped-call]
            text = json.dumps(written, indent=2, default=str)
            part.write_text(text, encoding="utf-8")
            part.replace(file)

        if kind := failure(write):
            yield f"Great Expectations' own results of the {self.stage} are not kept ({kind})."


@dataclass(frozen=True)
class SuiteResult:
    """What the expectations of a suite have found: as we show it, and in GX's own form."""

    results: tuple[CheckResult, ...]
    answer: ExpectationSuiteValidationResult


def _carry_out(
    suite: Suite, batch: Batch, frame: pd.DataFrame, rows: int, result_format: ResultFormat
) -> SuiteResult:
    from great_expectations.core import ExpectationSuite

    found = [evaluate(check, batch, frame, rows, result_format) for check in suite.checks]
    answers = [each.answer for each in found]
    configurations = suite.of_project.expectation_configurations
    for answer, configuration in zip(answers, configurations, strict=True):
        if answer.expectation_config:
            answer.expectation_config.id = configuration.id  # type: ignore[assignment]
            answer.expectation_config.meta = configuration.meta
    met = sum(bool(answer.success) for answer in answers)
    # A suite of the same name without expectations brings all that GX says of the batch.
    whole = batch.validate(ExpectationSuite(name=suite.of_project.name))
    whole.results, whole.success = answers, met == len(answers)
    whole.statistics = {
        "evaluated_expectations": len(answers),
        "successful_expectations": met,
        "unsuccessful_expectations": len(answers) - met,
        "success_percent": 100 * met / len(answers) if answers else None,
    }
    return SuiteResult(tuple(each.result for each in found), whole)


# --- Finding it --------------------------------------------------------------------------------


def take(job: Job, stage: Stage, file: Path | None = None) -> Taken | None:
    """Return what the job takes of its project for a table; None if it takes nothing.

    Parameters
    ----------
    job : Job
    stage : {"input", "output"}
    file : Path, optional
        Where GX's own results are left, if the job wants them.

    Raises
    ------
    JobError
        If the project, or what is named of it, is not there or cannot be opened.
    """
    if job.checks.context is None or stage not in job.checks.of_project:
        return None
    suite: str | None = getattr(job.checks.suite, stage)
    named: str | None = getattr(job.checks.checkpoint, stage)
    checkpoint: Checkpoint | None = None
    with quiet():
        context = _open(job.checks.context, job.place("checks", "context"))
        if named:
            place = job.place("checks", "checkpoint", stage)
            checkpoint = _checkpoint(context, named, place)
        place = job.place("checks", "suite" if suite else "checkpoint", stage)
        suites = [suite] if suite else _suites_of(checkpoint, place)
        found = tuple(_suite(context, name, place) for name in suites)
    return Taken(
        stage=stage,
        table=f"{job.name}-{stage}",
        place=place,
        context=context,
        suites=found,
        checkpoint=checkpoint,
        results=job.checks.results,
        file=file,
    )


def _open(folder: Path, place: str) -> FileDataContext:
    try:
        holding_code(folder)  # once more, because a link can have changed
    except OutsideError as outside:
        _refuse(place, str(outside))
    # GX makes a project where there is none.
    if not (folder / CONFIGURATION).is_file():
        inside = sorted(str(file.parent) for file in folder.glob(f"*/{CONFIGURATION}"))
        meant = f" (did you mean {one_line(inside[0])}?)" if inside else ""
        _refuse(
            place,
            f"no project of Great Expectations, there is no {CONFIGURATION} in the folder "
            f"{one_line(str(folder))}{meant}",
        )
    with _opening(f"the project {folder}", place):
        return read_project(folder)


def _checkpoint(context: FileDataContext, name: str, place: str) -> Checkpoint:
    with _opening(f"the checkpoint {name}", place):
        names = _names_in(context.checkpoint_store)
        found = context.checkpoints.get(name) if name in names else None
    return found or _refuse(place, _not_among("checkpoint", name, names))


def _suites_of(checkpoint: Checkpoint | None, place: str) -> list[str]:
    definitions = checkpoint.validation_definitions if checkpoint else []
    if not definitions:
        _refuse(place, "the checkpoint has no validation definition; name a suite beside it")
    return list(dict.fromkeys(definition.suite.name for definition in definitions))


def _suite(context: FileDataContext, name: str, place: str) -> Suite:
    store = context.expectations_store
    with _opening(f"the suite {name}", place):
        names = _names_in(store)
        if name in names:
            suite = context.suites.get(name)
            written = store.get(store.get_key(name=name, id=None))["expectations"]
            left_out = Counter(each["type"] for each in written)
            left_out -= Counter(each.type for each in suite.expectation_configurations)
    if name not in names:
        _refuse(place, _not_among("suite", name, names))
    if left_out:
        _refuse(
            place,
            f"of the suite {one_line(name)} Great Expectations leaves out "
            f"{listed(list(left_out), write=one_line)}: it has no such expectation, or not with "
            "these options; those of your own must be imported before the job is run",
        )
    return Suite.of(suite)


def _names_in(store: Store) -> list[str]:
    return sorted(key.to_tuple()[-1] for key in store.list_keys())


def _not_among(kind: str, name: str, names: Sequence[str]) -> str:
    others = f"only {listed(names, write=one_line)}" if names else "nor any other"
    return f"the project has no {kind} {one_line(name)}{did_you_mean(name, names)}, {others}"


@contextmanager
def _opening(what: str, place: str) -> Iterator[None]:
    """Say what cannot be opened, without GX's words, which may quote a secret of the project."""
    try:
        yield
    except Exception as error:
        _refuse(
            place,
            f"{one_line(what)} cannot be opened ({type(error).__name__}); Great Expectations says "
            "why in Python, with gx.get_context(mode='file', context_root_dir=...), and "
            "expectations and actions of your own must be imported before the job is run",
        )


def _refuse(place: str, message: str) -> NoReturn:
    """Raise the error of a job, of which one thing is wrong."""
    raise JobError([Problem(place, message)]) from None
