"""Blocks of Prefect: a job that is kept there, and the login to a database that jobs can name.

`prefect block register -m em_impute.blocks` makes them known to a server. Prefect's servers and
workers import this module when they start, as one of their `prefect.collections`, so it imports
little. Prefect shows the docstrings of blocks to its users, and wants them in this format.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

# Every block that is in this module by its own name would be registered as one of ours.
from prefect.blocks import core, system
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from em_impute.job import (
    Job,
    JobError,
    holds_password,
    load_job,
    parse_job,
    split_database_url,
)
from em_impute.logins import Login, LoginError

if TYPE_CHECKING:
    from em_impute.findings import Outcome

_DOCUMENTATION = HttpUrl("https://pypi.org/project/em-impute/")
# Prefect takes pictures from the web only, so these are two of its own.
_PICTURES = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/"
    "420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos"
)
# A block refuses what it has no field for, and does not repeat what it refuses.
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


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

    model_config: ClassVar[ConfigDict] = _STRICT

    _block_type_name = "EM Impute Job"
    _block_type_slug = "em-impute-job"
    _logo_url = HttpUrl(f"{_PICTURES}/filesystem.png")
    _documentation_url = _DOCUMENTATION

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
        from em_impute.findings import Outcome, Refused
        from em_impute.flows.impute import impute

        job = Path(self.path) if self.path else self.job()
        state = impute(job, Path(self.runs), date, return_state=True)
        outcome = state.result(raise_on_failure=False)
        if not isinstance(outcome, Outcome):
            raise outcome
        if not state.is_completed():
            raise Refused(outcome.verdict.sentence)
        return outcome


class EMImputeDatabase(core.Block):
    """The login to a database, which jobs of em_impute name instead of an address and a password.

    In a job: `target: {url: {block: em-impute-database/BLOCK_NAME}, table: sales.orders}`.

    Attributes:
        url: The address of the database, without a password.
        password: The password, if the database asks for one.

    Example:
        See which database it is; jobs name the block by themselves:
        ```python
        from em_impute.blocks import EMImputeDatabase

        database = EMImputeDatabase.load("BLOCK_NAME")
        print(database.url)
        ```
    """

    model_config: ClassVar[ConfigDict] = _STRICT

    _block_type_name = "EM Impute Database"
    _block_type_slug = "em-impute-database"
    _logo_url = HttpUrl(f"{_PICTURES}/secret.png")
    _documentation_url = _DOCUMENTATION

    url: str = Field(
        title="URL",
        description="The database, such as postgresql://user@host/database, without a password.",
    )
    password: SecretStr = Field(
        SecretStr(""),
        title="Password",
        description="The password, if the database asks for one.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_database(cls, url: str) -> str:
        _, parts = split_database_url(url)
        if holds_password(parts):
            raise ValueError("the password has a field of its own; take it out of the URL")
        return url

    def login(self) -> Login:
        """Give what opens the database; neither part is in its repr."""
        return Login(self.url, self.password.get_secret_value() or None)


def read_block(name: str) -> str | Login:
    """Read what a job may name: a secret, or the login to a database.

    Args:
        name: Type and name of the block: `secret/NAME` or `em-impute-database/NAME`.

    Raises:
        LoginError: If it is not there, is of another kind, or Prefect does not answer.
    """
    try:
        # In a task of an asynchronous flow, too, it answers itself, not with a coroutine.
        block = cast(Any, core.Block).load(name, _sync=True)
    except Exception as error:  # whatever it was: its message may quote what the block holds
        raise LoginError(
            f"the block {name} cannot be read from Prefect ({type(error).__name__}); "
            f"see that `prefect block inspect {name}` finds it"
        ) from None
    match block:
        case EMImputeDatabase():
            return block.login()
        case system.Secret():
            # Not get(), which makes a number of a password of digits.
            secret = block.value.get_secret_value()
            if isinstance(secret, str):
                return secret
            raise LoginError(f"the block {name} keeps something else than text")
    raise LoginError(f"the block {name} is neither a secret/... nor an em-impute-database/...")
