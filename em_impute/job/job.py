"""`Job`: the whole of a job file; `job_schema` gives the same to editors."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Self

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from em_impute.job.checks import Checks
from em_impute.job.columns import Columns
from em_impute.job.dates import is_dated, on_day
from em_impute.job.engine import Engine, EngineOptions, beyond_sql
from em_impute.job.families import (
    require_components,
    require_factors,
    require_posterior,
    require_summary,
)
from em_impute.job.mistakes import CannotRun, Places, dotted
from em_impute.job.notify import Notify
from em_impute.job.options import (
    Imputation,
    KeptRuns,
    ModelOptions,
    ReportOptions,
    SelfTest,
    SelfTestOptions,
)
from em_impute.job.schedule import Schedule, Schedules
from em_impute.job.source import Source
from em_impute.job.state import (
    State,
    require_known_weights,
    require_partitions,
    require_room,
)
from em_impute.job.target import Target, require_another_target
from em_impute.job.types import Count, Names, Number, Section

BATCH_ROWS = 65_536


class Job(Section):
    """One imputation job: read a table, fill its holes, check the result, publish it."""

    model_config = ConfigDict(title="em_impute job")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=100,
        description="Name of the job: of its run folder, its Prefect runs and its reports.",
        examples=["airquality"],
    )
    description: str | None = Field(
        None,
        max_length=5000,
        description="What the job is for, in Markdown; shown with its deployment in Prefect.",
        examples=["Fills the gaps of the night's sensor readings."],
    )
    tags: Names = Field(
        (), description="Tags of its deployment and runs in Prefect.", examples=[["sensors"]]
    )
    source: Source = Field(
        description="The table to read.", examples=[{"path": "data/airquality.csv"}]
    )
    columns: Columns = Field(Columns(), description="The part that each column plays.")
    model: ModelOptions = Field(ModelOptions(), description="How the model is estimated.")
    imputation: Imputation = Field(Imputation(), description="What a missing cell is filled with.")
    self_test: SelfTest = Field(
        SelfTestOptions(),
        description="How well observed cells are filled when they are hidden: off, fill or refit, "
        "or a mapping with limits.",
        examples=[{"method": "refit", "min_coverage_95": 0.9}],
    )
    checks: Checks = Field(Checks(), description="What must hold before and after.")
    target: Target = Field(
        description="The table to write.", examples=[{"path": "out/airquality.parquet"}]
    )
    report: ReportOptions = Field(
        ReportOptions(),
        description="What the report watches, and a table of a database for its numbers.",
    )
    engine: Engine = Field(
        EngineOptions(),
        description="Where the table is summed up and filled: local, dask, sql, or a mapping.",
        examples=["sql", {"name": "dask", "workers": 2}],
    )
    state: State | None = Field(
        None,
        description="Where the rows of earlier runs are kept, summed up, so that a run reads only "
        "what is new; default: nowhere.",
        examples=[{"path": "state/airquality", "window": "90 days"}],
    )
    batch_rows: Count = Field(
        BATCH_ROWS,
        ge=1,
        le=10_000_000,
        description="Rows that are in memory at a time; the answer is the same.",
    )
    time_limit: Number | None = Field(
        None,
        gt=0,
        description="Most seconds from reading to publishing; a run that takes longer publishes "
        "nothing.",
        examples=[7200],
    )
    keep_runs: KeptRuns = Field(
        KeptRuns(),
        description="Which run folders are kept; the latest that published always is.",
        examples=[{"days": 365}],
    )
    schedule: Schedules | None = Field(
        None,
        description="When the job runs by itself, once deployed or served: one schedule, or a list "
        "of them; default: only when asked.",
        examples=[{"cron": "0 3 * * *"}],
    )
    after: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Name of another job: each time that has published, this job, once deployed, "
        "runs with its data date; default: none.",
        examples=["airquality"],
    )
    notify: Notify | None = Field(
        None,
        description="Which blocks of Prefect send a message when a run of the deployed job ends "
        "badly; default: none.",
        examples=[{"slack": {"block": "on-call"}, "on": ["refused", "failed", "lost"]}],
    )

    _places: Places = PrivateAttr(default_factory=Places)
    _from: _From = PrivateAttr(default_factory=lambda: _From())

    @field_validator("imputation")
    @classmethod
    def _model_has_imputations(cls, imputation: Imputation, info: ValidationInfo) -> Imputation:
        if "model" in info.data:
            require_posterior(info.data["model"], imputation)
        return imputation

    @field_validator("target")
    @classmethod
    def _model_has_what_is_added(cls, target: Target, info: ValidationInfo) -> Target:
        if "model" in info.data:
            require_components(info.data["model"], clusters=target.clusters)
            require_factors(info.data["model"], scores=target.scores)
        return target

    @field_validator("target")
    @classmethod
    def _keeps_the_source(cls, target: Target, info: ValidationInfo) -> Target:
        require_another_target(info.data.get("source"), target)
        return target

    @field_validator("target")
    @classmethod
    def _upsert_has_a_key(cls, target: Target, info: ValidationInfo) -> Target:
        columns = info.data.get("columns")
        if target.mode == "upsert" and columns and not columns.key:
            raise ValueError(
                "`mode: upsert` finds the rows to replace by columns.key, which is empty; "
                "name the columns that identify a row there"
            )
        return target

    @field_validator("imputation")
    @classmethod
    def _groups_are_not_resampled(cls, imputation: Imputation, info: ValidationInfo) -> Imputation:
        columns = info.data.get("columns")
        if imputation.posterior == "bootstrap" and columns and columns.group_by:
            raise ValueError(
                "`posterior: bootstrap` fits one model to resampled rows of all groups; use "
                "`posterior: augmentation`, or remove columns.group_by"
            )
        return imputation

    @field_validator("engine")
    @classmethod
    def _engine_can_do_it(cls, engine: EngineOptions, info: ValidationInfo) -> EngineOptions:
        known, needed = info.data, ("source", "target", "columns", "imputation")
        if engine.name == "sql" and all(name in known for name in needed):
            for reason in beyond_sql(*(known[name] for name in needed)):
                raise ValueError(reason)
        if engine.name == "sql" and "model" in known:
            require_summary(known["model"], "`engine: sql`")
        return engine

    @field_validator("state")
    @classmethod
    def _state_is_of_rows(cls, state: State | None, info: ValidationInfo) -> State | None:
        known = info.data
        if state is None or not {"source", "target", "columns", "imputation"} <= set(known):
            return state
        require_room(state, known["source"], known["target"])
        require_partitions(known["source"])
        require_known_weights(state, known["imputation"])
        if "engine" in known and known["engine"].name == "sql":
            raise ValueError(
                "`engine: sql` sums up the whole table each time; remove the state, or the engine"
            )
        if known["columns"].group_by:
            raise ValueError(
                "a state keeps the rows of all groups together; remove columns.group_by, or the "
                "state"
            )
        if "model" in known:
            require_summary(known["model"], "a state")
        return state

    @field_validator("after")
    @classmethod
    def _another_job(cls, after: str | None, info: ValidationInfo) -> str | None:
        if after is not None and after == info.data.get("name"):
            raise ValueError("expected the name of another job; this one would never end")
        return after

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules, however many."""
        if isinstance(self.schedule, Schedule):
            return (self.schedule,)
        return self.schedule or ()

    @property
    def most_checked(self) -> tuple[str, int]:
        """The option that says how many rows Great Expectations sees at most, and how many."""
        options = {"checks.max_rows": self.checks.max_rows}
        if self.engine.name == "sql":
            options["engine.sample_rows"] = self.engine.sample_rows
        return min(options.items(), key=lambda option: option[1])

    def data_date(self, scheduled: datetime, schedule: int = 0) -> date:
        """The day that a run is about which a schedule, by its number, has set for a moment.

        A job without schedules is about the day itself, in UTC.
        """
        if not self.schedules:
            return scheduled.astimezone(UTC).date()
        return self.schedules[min(schedule, len(self.schedules) - 1)].data_date(scheduled)

    @property
    def is_dated(self) -> bool:
        """Whether the source or the target is another one for each data date."""
        return self.source_is_dated or self.target_is_dated

    @property
    def source_is_dated(self) -> bool:
        """Whether the source is another one for each data date."""
        return is_dated(self.source)

    @property
    def target_is_dated(self) -> bool:
        """Whether the target is another one for each data date."""
        return is_dated(self.target)

    def at(self, day: date) -> Self:
        """The job of one day: with its date in the place of ``{date}`` in source and target.

        The job of one day gives that of another one, too.

        Raises
        ------
        CannotRun
            If the target would be the source on that day.
        """
        of_any_day = self.of_any_day
        source, target = on_day(of_any_day.source, day), on_day(of_any_day.target, day)
        try:
            require_another_target(source, target)
        except ValueError as error:
            raise CannotRun(f"{self.place('target')}: target: on {day} {error}") from None
        job = self.model_copy(update={"source": source, "target": target})
        job._from = _From(day, of_any_day)
        return job

    @property
    def day(self) -> date | None:
        """The day that this is the job of; None for a job that `at` has not given."""
        return self._from.day

    @property
    def of_any_day(self) -> Job:
        """The job that `at` has given this from; the job itself of one that it has not."""
        return self._from.job or self

    def place(self, *loc: str | int) -> str:
        """Return where a part of the job is written.

        Parameters
        ----------
        *loc : str or int
            Keys and list positions (from 0) that lead to it, as in the file:
            ``"checks", "input", 0, "expect_column_to_exist", "column"``.

        Returns
        -------
        str
            "job.yaml:12:5" (line and column of that value, or of the nearest that is written),
            or "checks.input.0" for a job that was not read from a file.
        """
        if self._places.file is None:
            return dotted(loc)
        return self._places.describe(self._places.position(loc))


@dataclass(frozen=True)
class _From:
    """Where the job of one day is from, which makes it no other job than one that is written so."""

    day: date | None = field(default=None, compare=False)
    job: Job | None = field(default=None, compare=False)


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job file, for editors (yaml-language-server) and other tools."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **Job.model_json_schema()}
