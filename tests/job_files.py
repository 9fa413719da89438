"""Job files for the tests of the job: the shortest that loads, one with every section."""

from __future__ import annotations

from pathlib import Path

import pytest

from em_impute.job import Job, JobError, load_job

MINIMAL = "name: air\nsource: {path: in.csv}\ntarget: {path: out.csv}\n"
FULL = """\
name: airquality
source: {path: data/airquality.txt, format: csv}
columns:
  impute: [Ozone, Solar.R]
  predictors: [Wind, Temp]
  key: [Month, Day]
model:
  tol: 1e-8
  max_iter: 50
  prior: 2
  acceleration: none
  time_limit: 600
imputation: {method: mean}
checks:
  input:
    - {expect_column_values_to_not_be_null: {column: Temp}}
    - expect_column_mean_to_be_between:
        column: Wind
        min_value: 5
        severity: warning
  output: []
target: {path: out/airquality.pq}
schedule: {cron: "0 3 * * *", timezone: Europe/Paris}
"""


def load(text: str | bytes) -> Job:
    content = text.encode() if isinstance(text, str) else text
    Path("job.yaml").write_bytes(content)
    return load_job(Path("job.yaml"))


def complaints(text: str | bytes) -> list[str]:
    with pytest.raises(JobError) as caught:
        load(text)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem).removeprefix("job.yaml:").strip() for problem in caught.value.problems]
