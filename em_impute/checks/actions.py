"""The actions of a checkpoint of Great Expectations (GX) on our results, and how they fail.

An action may raise, log what went wrong and go on, or wait without end. None of it is the run's
fault, and none of its words are ours to show: they may quote a webhook's URL.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

from em_impute.checks.great_expectations import silence
from em_impute.job import Stage
from em_impute.job.legible import one_line

if TYPE_CHECKING:
    from great_expectations.checkpoint.actions import ActionContext, ValidationAction
    from great_expectations.checkpoint.checkpoint import Checkpoint, CheckpointResult
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.file_data_context import FileDataContext

# GX itself waits without end for whoever an action calls.
MOST_SECONDS = 300


def act(
    checkpoint: Checkpoint,
    context: FileDataContext,
    answers: Sequence[ExpectationSuiteValidationResult],
    run: str,
    stage: Stage,
) -> Iterator[str]:
    """Store results in a project, and run the actions of a checkpoint: Data Docs first, as GX does.

    Parameters
    ----------
    checkpoint : Checkpoint
    context : FileDataContext
        The project.
    answers : sequence of ExpectationSuiteValidationResult
        The results of its suites.
    run : str
        What the run is called in the project.
    stage : {"input", "output"}
        Of which table the results are.

    Yields
    ------
    str
        A sentence for each thing that failed, of which the others are independent.
    """
    from great_expectations.checkpoint.actions import ActionContext, UpdateDataDocsAction
    from great_expectations.data_context.data_context.context_factory import set_context

    set_context(context)  # for actions of the user's own, which may ask for it
    result = _result(checkpoint, answers, run)
    if kind := failure(lambda: _store(result, context)):
        folder = one_line(str(context.root_directory))
        yield f"The results of the {stage} are not stored in the project {folder} ({kind})."
    done = ActionContext()
    for action in sorted(checkpoint.actions, key=lambda a: not isinstance(a, UpdateDataDocsAction)):
        action._data_context = context  # as a checkpoint does before it runs one
        if kind := _failure_of(action, result, done):
            yield (
                f"The action {one_line(action.name)} of the checkpoint "
                f"{one_line(checkpoint.name)} failed on the {stage} ({kind}); the verdict on the "
                "table does not depend on it."
            )


def _result(
    checkpoint: Checkpoint, answers: Sequence[ExpectationSuiteValidationResult], run: str
) -> CheckpointResult:
    """What the checkpoint would have found, had it been run on our table."""
    from great_expectations.checkpoint.checkpoint import CheckpointResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    now = datetime.now(UTC)
    run_id = RunIdentifier(run_name=run, run_time=now)
    results = {}
    for answer in answers:
        meta: dict[str, Any] = dict(answer.meta)
        meta |= {"run_id": run_id, "validation_time": now}
        answer.meta = {**meta, "checkpoint_id": checkpoint.id, "validation_id": None}
        key = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(answer.suite_name),
            run_id=run_id,
            batch_identifier=answer.batch_id,
        )
        results[key] = answer
    return CheckpointResult(run_id=run_id, run_results=results, checkpoint_config=checkpoint)


def _store(result: CheckpointResult, context: FileDataContext) -> None:
    for key, answer in result.run_results.items():
        context.validation_results_store.store_validation_results(
            answer, key, key.expectation_suite_identifier
        )


def _failure_of(action: ValidationAction, result: CheckpointResult, done: ActionContext) -> str:
    """Run an action; the kind of its failure, empty if it did not fail."""
    answers: list[Mapping[Any, Any]] = []

    def run() -> None:
        answer = action.run(checkpoint_result=result, action_context=done)
        done.update(action, answer)
        answers.append(answer or {})

    with _complaints() as complaints:
        kind = failure(run)
    return kind or _swallowed(answers[0], complaints)


def failure(function: Callable[[], None]) -> str:
    """Call what may fail in any way, or never end; the kind of its failure, empty if there is none.

    What it prints is dropped: GX prints errors that quote a URL.
    """
    failures: list[Exception] = []

    def call() -> None:
        try:
            function()
        except Exception as error:  # whatever it was, the run goes on
            failures.append(error)

    thread = threading.Thread(target=call, daemon=True)
    with redirect_stdout(StringIO()), silence("urllib3"):
        thread.start()
        thread.join(MOST_SECONDS)
    if thread.is_alive():
        return f"no end after {MOST_SECONDS} seconds"
    return type(failures[0]).__name__ if failures else ""


@contextmanager
def _complaints() -> Iterator[list[logging.LogRecord]]:
    """What GX's actions log as a warning or an error meanwhile: most catch what goes wrong."""
    from great_expectations.checkpoint import actions

    complaints: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record)

    listener = Listener(logging.WARNING)
    actions.logger.addHandler(listener)
    try:
        yield complaints
    finally:
        actions.logger.removeHandler(listener)


def _swallowed(answer: Mapping[Any, Any], complaints: Sequence[logging.LogRecord]) -> str:
    """Why an action failed that has raised nothing; empty if it did not fail."""
    texts = [value for value in answer.values() if isinstance(value, str)]
    # That an e-mail was sent without encryption is a warning, too.
    if complaints and "success" not in texts:
        return "not delivered"
    refused = re.search(r"status code - ([45]\d\d)$", " ".join(texts))
    return f"status {refused[1]}" if refused else ""
