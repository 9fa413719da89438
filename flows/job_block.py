"""A job as a block of Prefect, which runs the flow.

Prefect's servers and workers import this module when they start, so it imports no flow until the
job runs.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from prefect.blocks import core
from pydantic import ConfigDict, Field, HttpUrl, model_validator

from em_impute.job import Job, JobError, load_job, parse_job
from em_impute.plugin.blocks import DOCUMENTATION, PICTURES, STRICT

if TYPE_CHECKING:
    from em_impute.runs.run import Outcome


class EMImputeJob(core.Block):
    """A job of em_impute, kept in Prefect: fills the holes of a table and publishes it.

    The job is checked when the block is made, as a job file is when it is read. It holds no
    password: it names the environment variable or the block that does.

    Attributes:
        yaml: The job, as a job file has it: YAML, or JSON, which is YAML.
        path: Instead of the text: the path of a job file, which every run reads again.
        runs: Where the folders of runs are made.

    Example:
        Run a job that is kept in Prefect:
        ```python
        from em_impute.blocks import EMImputeJob

        job = EMImputeJob.load("BLOCK_NAME")
        outcome = job.run()
        print(outcome.verdict.sentence)
        ```
    """

    model_config: ClassVar[ConfigDict] = STRICT

    _block_type_name = "EM Impute Job"
    _block_type_slug = "em-impute-job"
    _logo_url = HttpUrl(f"{PICTURES}/filesystem.png")
    _documentation_url = DOCUMENTATION

    yaml: str = Field(
        "",
        title="YAML",
        description="The job, as a job file has it: YAML, or JSON, which is YAML.",
    )
    path: str = Field(
        "",
        title="Path",
        description="Instead of the text: the path of a job file, where the job will run.",
    )
    runs: str = Field("runs", title="Runs", description="Where the folders of runs are made.")

    @model_validator(mode="after")
    def _one_job(self) -> Self:
        if bool(self.yaml.strip()) == bool(self.path):
            came = "both" if self.path else "neither"
            raise ValueError(f"expected either yaml, the text of a job, or path, got {came}")
        if not self.path:
            try:
                parse_job(self.yaml, "yaml")
            except JobError as error:
                raise ValueError(str(error)) from None
        return self

    def job(self) -> Job:
        """Read the job.

        Raises:
            JobError: With all mistakes in it, each at its line.
        """
        return load_job(Path(self.path)) if self.path else parse_job(self.yaml, "yaml")

    def run(self, date: dt.date | None = None) -> Outcome:
        """Run the job now: as a flow of its own, or within the flow that calls this.

        Args:
            date: The data date, for `{date}` in the job; by default that of the flow's schedule.

        Returns:
            The outcome of a run that published.

        Raises:
            CannotRun: If the job or its target is wrong, so that nothing was begun.
            Refused: If nothing was published; the message is the verdict.
        """
        # Flows bring all of em_impute along.
        from em_impute.flows.impute import impute
        from em_impute.runs.run import Outcome, Refused

        job = Path(self.path) if self.path else self.job()
        state = impute(job, Path(self.runs), date, return_state=True)
        outcome = state.result(raise_on_failure=False)
        if not isinstance(outcome, Outcome):
            raise outcome
        if not state.is_completed():
            raise Refused(outcome.verdict.sentence)
        return outcome
