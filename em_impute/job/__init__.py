"""The YAML job: a module for each section of the file, `Job` for the whole, `reading` to load it.

A key of a section is a field of the section's class, and what its value may be stands above it:

- `source`: the table to read; `target`: the table to write. What both share is in `table_file`
  (where they have a `path`), `database` (where they have a `url`) and `lakehouse` (where their
  `format` is `delta` or `iceberg`).
- `columns`: the part of each column.
- `options`: `model`, `imputation`, `self_test`, `report` and `keep_runs`.
- `checks`: the expectations of Great Expectations.
- `engine`: where its passes over the table are carried out.
- `families`: which sections do not go with a family of models.
- `schedule`: when the job runs by itself; `rhythms` sees that it ever does.
- `notify`: who gets a message of runs that end badly.
- `state`: where the rows of earlier runs are kept, summed up.
- `job`: the sections together, and the keys outside of any: `name`, `batch_rows` and the like.

`types` has what all of them are made of, `dates` the place of ``{date}`` in names, `confinement`
the folders that jobs may use. `reading` reports every mistake of a file at its line and column
(`mistakes`), and `legible` makes what others wrote safe to show.
"""

from em_impute.job.checks import Check, Checks, Severity, Stage
from em_impute.job.columns import Columns, Logit
from em_impute.job.database import (
    Database,
    FromBlock,
    FromEnvironment,
    database_file,
    holds_password,
    split_database_url,
    split_table,
)
from em_impute.job.engine import EngineOptions
from em_impute.job.job import BATCH_ROWS, Job, job_schema
from em_impute.job.mistakes import CannotRun, JobError, Problem
from em_impute.job.notify import Notify, Occasion
from em_impute.job.options import (
    CLUSTER,
    CLUSTERS,
    FAMILIES,
    IMPUTATION,
    LEVEL_LIMITS,
    MASK,
    PROBABILITY,
    SCORE,
    Imputation,
    KeptRuns,
    ModelOptions,
    SelfTestOptions,
)
from em_impute.job.reading import load_job, parse_job
from em_impute.job.schedule import Schedule
from em_impute.job.source import (
    CsvOptions,
    DatabaseSource,
    DeltaSource,
    FileSource,
    IcebergSource,
    Source,
)
from em_impute.job.state import State
from em_impute.job.target import (
    DatabaseTarget,
    DeltaTarget,
    FileTarget,
    IcebergTarget,
    Target,
)

__all__ = [
    "BATCH_ROWS",
    "CLUSTER",
    "CLUSTERS",
    "FAMILIES",
    "IMPUTATION",
    "LEVEL_LIMITS",
    "MASK",
    "PROBABILITY",
    "SCORE",
    "CannotRun",
    "Check",
    "Checks",
    "Columns",
    "CsvOptions",
    "Database",
    "DatabaseSource",
    "DatabaseTarget",
    "DeltaSource",
    "DeltaTarget",
    "EngineOptions",
    "FileSource",
    "FileTarget",
    "FromBlock",
    "FromEnvironment",
    "IcebergSource",
    "IcebergTarget",
    "Imputation",
    "Job",
    "JobError",
    "KeptRuns",
    "Logit",
    "ModelOptions",
    "Notify",
    "Occasion",
    "Problem",
    "Schedule",
    "SelfTestOptions",
    "Severity",
    "Source",
    "Stage",
    "State",
    "Target",
    "database_file",
    "holds_password",
    "job_schema",
    "load_job",
    "parse_job",
    "split_database_url",
    "split_table",
]
