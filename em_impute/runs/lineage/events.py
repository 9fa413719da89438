"""The events of a run: START, then COMPLETE, FAIL or ABORT, with its tables as datasets."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from importlib.metadata import version

from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    RunEvent,
    RunState,
    set_producer,
)
from openlineage.client.event_v2 import Run as LineageRun
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    JobFacet,
    OutputDatasetFacet,
    RunFacet,
    dataset_version_dataset,
    documentation_job,
    error_message_run,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
)
from openlineage.client.uuid import generate_static_uuid

from em_impute.runs.lineage import facets
from em_impute.runs.lineage.datasets import Name, source_of, target_of
from em_impute.runs.run import Found, Loaded, Run
from em_impute.tables.databases.logins import LoginError
from em_impute.tables.fill import filled_schema

VERSION = version("em_impute")
set_producer(f"https://pypi.org/project/em-impute/{VERSION}")
# OpenLineage's own integrations have this one where nobody says another.
NAMESPACE = "default"


def start(run: Run) -> RunEvent:
    """A run starts: what it is to read and to write, by name."""
    return _event(run, RunState.START, Found(), {})


def end(run: Run, found: Found, sentence: str, aborted: bool = False) -> RunEvent:
    """A run has ended: what it has read, found and written.

    Parameters
    ----------
    run : Run
    found : Found
    sentence : str
        The verdict, which is the message of a run that has published nothing.
    aborted : bool
        Whether it was interrupted.
    """
    if found.published:
        return _event(run, RunState.COMPLETE, found, {})
    state = RunState.ABORT if aborted else RunState.FAIL
    error = error_message_run.ErrorMessageRunFacet(sentence, "PYTHON")
    return _event(run, state, found, {"errorMessage": error})


def run_id(run: Run) -> str:
    """The UUID of a run, which is the same whoever asks for it."""
    return str(generate_static_uuid(run.started, f"{run.job.name}/{run.id}".encode()))


def _event(run: Run, state: RunState, found: Found, more: dict[str, RunFacet]) -> RunEvent:
    names: dict[str, Name] = {}
    for which, name_of in (("source", source_of), ("target", target_of)):
        with suppress(LoginError):  # which the run itself fails by
            names[which] = name_of(run.job)
    source, target = names.get("source"), names.get("target")
    return RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        eventType=state,
        run=LineageRun(run_id(run), facets=_run_facets(run) | more),
        job=Job(
            os.environ.get("OPENLINEAGE_NAMESPACE") or NAMESPACE, run.job.name, _job_facets(run)
        ),
        inputs=[_input(source, found)] if source else [],
        outputs=[_output(source, target, found)] if target else [],
    )


def _run_facets(run: Run) -> dict[str, RunFacet]:
    day = datetime.combine(run.date, time(), UTC)
    found: dict[str, RunFacet] = {
        "nominalTime": nominal_time_run.NominalTimeRunFacet(
            day.isoformat(), (day + timedelta(days=1)).isoformat()
        ),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            VERSION, "em_impute", VERSION
        ),
    }
    with suppress(ValueError):  # of whoever started the run; there may be none, or no UUID in it
        namespace, name, parent = os.environ.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
        found["parent"] = parent_run.ParentRunFacet(
            parent_run.Run(parent), parent_run.Job(namespace, name)
        )
    return found


def _job_facets(run: Run) -> dict[str, JobFacet]:
    found: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "EM_IMPUTE", "JOB")
    }
    if run.job.description:
        found["documentation"] = documentation_job.DocumentationJobFacet(run.job.description)
    return found


def _input(name: Name, found: Found) -> InputDataset:
    of_table: dict[str, DatasetFacet] = {}
    of_input: dict[str, InputDatasetFacet] = {}
    if found.snapshot:
        of_table["schema"] = facets.schema_read(found.snapshot)
        of_table |= _at_version(found.snapshot.version)
        of_input["dataQualityMetrics"] = facets.counts_read(found.snapshot)
    if found.before:
        of_input["dataQualityAssertions"] = facets.checked(found.before)
    return InputDataset(name.namespace, name.name, of_input, facets=of_table)


def _output(source: Name | None, name: Name, found: Found) -> OutputDataset:
    """The target; checks are also those of a table that was not published for them."""
    of_table: dict[str, DatasetFacet] = {}
    of_output: dict[str, OutputDatasetFacet] = {}
    table, staged = found.snapshot, found.staged
    if found.published:
        of_output["outputStatistics"] = (
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=found.published.rows
            )
        )
        of_table |= _at_version(found.published.version)
        if isinstance(table, Loaded) and staged:
            of_table["schema"] = facets.schema_written(filled_schema(table, table.roles))
            of_table["dataQualityMetrics"] = facets.counts_written(table, staged)
        if isinstance(table, Loaded) and source:
            of_table["columnLineage"] = facets.columns_from(source, table.roles)
    if found.after:
        # The specification has it for inputs; readers look for it wherever a dataset is.
        of_table["dataQualityAssertions"] = facets.checked(found.after)  # type: ignore[assignment]
    return OutputDataset(name.namespace, name.name, of_output, facets=of_table)


def _at_version(version: int | None) -> dict[str, DatasetFacet]:
    """The version of a table in a lakehouse; nothing of others."""
    if version is None:
        return {}
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(str(version))}
