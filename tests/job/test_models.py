"""The job file: what loads, and the message and place of each mistake."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from em_impute.job import (
    CannotRun,
    Check,
    Columns,
    DatabaseSource,
    DatabaseTarget,
    FileSource,
    FileTarget,
    Job,
    JobError,
    Problem,
    job_schema,
    load_job,
    parse_job,
)

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "job.md").read_text(encoding="utf-8")
SCHEMA = jsonschema.Draft202012Validator(job_schema())
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


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that job.yaml is the whole path in messages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str | bytes) -> Job:
    content = text.encode() if isinstance(text, str) else text
    Path("job.yaml").write_bytes(content)
    return load_job(Path("job.yaml"))


def complaints(text: str | bytes) -> list[str]:
    with pytest.raises(JobError) as caught:
        load(text)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem).removeprefix("job.yaml:").strip() for problem in caught.value.problems]


# --- What loads --------------------------------------------------------------------------------


def test_a_full_job_is_read_as_written() -> None:
    job = load(FULL)
    assert job.source == FileSource(path=Path("data/airquality.txt"), format="csv")
    assert job.columns == Columns(
        impute=("Ozone", "Solar.R"), predictors=("Wind", "Temp"), key=("Month", "Day")
    )
    assert (job.model.tol, job.model.max_iter, job.model.prior) == (1e-8, 50, 2.0)
    assert (job.model.acceleration, job.model.time_limit) == ("none", 600.0)
    assert job.checks.input == (
        Check(expectation="expect_column_values_to_not_be_null", kwargs={"column": "Temp"}),
        Check(
            expectation="expect_column_mean_to_be_between",
            kwargs={"column": "Wind", "min_value": 5},
            severity="warning",
        ),
    )
    [schedule] = job.schedules
    assert (schedule.cron, schedule.timezone) == ("0 3 * * *", "Europe/Paris")


def test_a_job_is_read_from_text_too() -> None:
    """JSON is YAML; mistakes are said as those in a file are."""
    assert parse_job(MINIMAL) == parse_job(load(MINIMAL).model_dump_json()) == load(MINIMAL)
    with pytest.raises(JobError, match=r"^job:4:1: modell: unknown key \(did you mean model\?\)"):
        parse_job(MINIMAL + "modell: {}\n")
    for broken in ("\ud800", "#" * 300_000):
        with pytest.raises(JobError, match=r"^text: (not UTF-8|larger than a job may be)"):
            parse_job(broken, "text")


def test_a_minimal_job_has_the_defaults() -> None:
    job = load(MINIMAL)
    assert job.columns == Columns(impute=None, predictors=None, key=())
    assert (job.model.tol, job.model.max_iter, job.model.prior) == (1e-6, 1000, "auto")
    assert job.checks.input == job.checks.output == ()
    assert job.schedule is None


def test_the_self_test_is_on_unless_it_is_off() -> None:
    default = load(MINIMAL).self_test
    assert (default.method, default.max_share, default.max_cells) == ("fill", 0.02, 50_000)
    assert not default.has_limits
    assert load(f"{MINIMAL}self_test: off").self_test.method == "off"
    assert load(f"{MINIMAL}self_test: refit").self_test.method == "refit"
    limits = load(f"{MINIMAL}self_test: {{max_rmse_ratio: 1.0, min_coverage_95: 0.9}}").self_test
    assert (limits.method, limits.max_rmse_ratio, limits.min_coverage_95) == ("fill", 1.0, 0.9)
    assert limits.has_limits
    limits = load(
        f"{MINIMAL}self_test: {{max_rmse_ratio: {{a: 0.9}}, min_accuracy: 0.5}}"
    ).self_test
    assert limits.limits == {"max_rmse_ratio": {"a": 0.9}, "min_accuracy": 0.5}
    assert limits.has_limits


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.csv", "csv"),
        ("a.CSV", "csv"),
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.feather", "feather"),
        ("a.arrow", "feather"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
    ],
)
def test_the_suffix_tells_the_format(name: str, file_format: str) -> None:
    assert FileTarget(path=Path(name)).file_format == file_format


def test_a_given_format_wins_over_the_suffix() -> None:
    assert FileSource(path=Path("a.csv"), format="parquet").file_format == "parquet"


def test_words_that_old_yaml_takes_for_booleans_and_dates_are_column_names() -> None:
    names = ("NO", "y", "off", "2020-01-01", "1:30", "<<", "=")
    assert load(f"{MINIMAL}columns: {{impute: [{', '.join(names)}]}}").columns.impute == names


@pytest.mark.parametrize("text", ["1e-6", "1.0e-6", "0.000001"])
def test_numbers_in_any_notation_are_numbers(text: str) -> None:
    assert load(f"{MINIMAL}model: {{tol: {text}}}").model.tol == 1e-6


@pytest.mark.parametrize("text", ["5400", "5400.0", "PT1H30M", "01:30:00"])
def test_an_interval_is_seconds_or_a_duration(text: str) -> None:
    [schedule] = load(f"{MINIMAL}schedule: {{interval: {text}}}").schedules
    assert schedule.interval == timedelta(hours=1, minutes=30)


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert load(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode()) == load(MINIMAL)


def test_an_alias_repeats_its_anchor_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    job = load(f"{MINIMAL}columns: {{impute: &a [x], predictors: &a [y], key: *a}}")
    assert job.columns.key == ("y",)
    assert not recwarn.list


# --- What is wrong with the file ---------------------------------------------------------------


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(folder: Path) -> None:
    with pytest.raises(JobError) as caught:
        load_job(Path("configs/nope.yaml"))
    assert str(caught.value) == (
        f"configs/nope.yaml: no such file in the folder {folder / 'configs'}; check the path"
    )


def test_a_folder_is_no_job_file() -> None:
    Path("configs").mkdir()
    with pytest.raises(JobError, match=r"^configs: expected a job file, got a folder$"):
        load_job(Path("configs"))


def test_a_file_below_a_file_cannot_be_read() -> None:
    load(MINIMAL)
    with pytest.raises(JobError, match=r"^job.yaml/x: cannot be read: Not a directory$"):
        load_job(Path("job.yaml/x"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty", "pipe", "link"])
def test_what_is_no_file_is_not_even_opened(path: str) -> None:
    """A pipe would be waited for, and /dev/zero has no end."""
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    with pytest.raises(JobError, match=f"^{path}: expected a job file, got a device or a pipe$"):
        load_job(Path(path))


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("a\0b", "expected the path of a job file"),
        ("a" * 300, "cannot be read: File name too long"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_a_path_that_no_file_has(path: str, complaint: str) -> None:
    Path("loop").symlink_to("loop")
    with pytest.raises(JobError) as caught:
        load_job(Path(path))
    assert str(caught.value) == f"{path}: {complaint}"


def test_a_file_larger_than_any_job_is_not_parsed() -> None:
    assert complaints("x" * 300_000) == ["larger than a job file may be (256 KiB)"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"name: air\nsource: {path: \xe9.csv}", "not UTF-8 (line 2); save the file in UTF-8"),
        ("", "the file is empty; a job has a name, a source and a target"),
        ("# nothing yet\n", "the file is empty; a job has a name, a source and a target"),
        ("- name: air", "1:1: expected a mapping (`key: value`), got a list"),
        ("air", "1:1: expected a mapping (`key: value`), got text"),
        ("name: air\n\tsource: x", "2:1: a tab; indent with spaces only"),
        ("name: air\nsource:\n\tpath: x", "3:1: a tab; indent with spaces only"),
        ("a: [b, c\nd: e", "1:4: this [ is not closed, or a comma is missing after it"),
        ("a: {b: c\nd: e", "1:4: this { is not closed, or a comma is missing after it"),
        ("a: 'b\nc: d", "1:4: this quote is not closed"),
        ("a: b: c", "1:5: a : out of place; check the indentation, or put text in quotes"),
        ("a: b\n  c: d", "2:4: a : out of place; check the indentation, or put text in quotes"),
        ("a: {}\n  b: c", "2:3: not in line with what stands above; check the indentation"),
        ("a: b\nair\nc: d", "2:1: expected `key: value`; check the indentation too"),
        ("a: *b", "1:4: text that begins with * must be in quotes"),
        ("a: @b", "1:4: text that begins with this character must be in quotes"),
        (r'a: "C:\data"', r"1:8: in double quotes \ is special; use single quotes"),
        ("a: b\n---\nc: d", "2:1: a second document begins; a file holds one job"),
        ("a: b\nc: d\0", "2:5: a control character, which YAML does not allow; remove it"),
        ("]", "1:1: not valid YAML; check the quotes, brackets and indentation just before"),
        ("[" * 1000, "1:42: nested too deeply for a job"),
        ("a: " + "[" * 50 + "]" * 50, "1:44: nested too deeply for a job"),
        ("a: &a [*a]", "1:4: nested too deeply for a job"),
    ],
)
def test_text_that_is_no_job_is_refused_with_its_place(text: str | bytes, complaint: str) -> None:
    assert complaints(text) == [complaint]


def test_aliases_that_multiply_are_stopped() -> None:
    """Nine lines that stand for ten thousand million values."""
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (complaint,) = complaints("\n".join(["a0: &a0 [" + "x, " * 99 + "x]", *lines]))
    assert complaint.endswith("more than 100,000 values in one job")


def test_an_error_has_a_bound_on_its_length() -> None:
    unknown = "".join(f"k{i}: x\n" for i in range(5000))
    found = complaints(MINIMAL + unknown)
    assert (len(found), found[-1]) == (101, "and 4,900 more mistakes")
    names = ", ".join(f"{name}, {name}" for name in "abcdefghijkl")
    (complaint,) = complaints(f"{MINIMAL}columns: {{impute: [{names}]}}")
    assert "a, b, c, d, e, f, g, h, i, j and 2 more: named more than once" in complaint


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "0o" + "7" * 5000, "-0x" + "f" * 300])
def test_numbers_that_could_not_be_written_again(number: str) -> None:
    text = f"{MINIMAL}checks: {{input: [{{expect_table_row_count_to_equal: {{value: {number}}}}}]}}"
    (complaint,) = complaints(text)
    assert complaint.endswith("does not fit the tag before it, or the number is too long")


def test_merge_keys_are_not_merged() -> None:
    found = complaints("name: b\nsource: &a {path: x.csv}\ntarget: {<<: *a}\n")
    assert any(line.startswith("3:10: target.<<: unknown key") for line in found)


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!binary", "!secret"])
def test_tags_are_refused_and_nothing_is_made_of_them(tag: str) -> None:
    message = "tags (such as !!python/object) are not accepted in a job"
    text = f"{MINIMAL}columns:\n  impute: [{tag} eA==]\n"
    assert complaints(text) == [f"5:12: columns.impute.0: {message}"]
    assert complaints(f"{MINIMAL}{tag} x: 1\n") == ["4:1: ?: a key must be plain text"]


def test_keys_that_are_no_text_are_refused() -> None:
    assert complaints(f"{MINIMAL}? [a, b]\n: 1\n") == ["4:3: ?: a key must be plain text"]


def test_halves_of_characters_are_refused() -> None:
    (complaint,) = complaints(MINIMAL + r'columns: {impute: ["\ud800"]}')
    assert complaint.startswith("4:20: columns.impute.0: not text")


# --- Places of tables --------------------------------------------------------------------------


def test_a_source_may_be_a_url() -> None:
    job = load(MINIMAL.replace("in.csv", '"s3://bucket/a.ndjson?region=eu-west-1"'))
    assert job.source.path == "s3://bucket/a.ndjson?region=eu-west-1"
    assert job.source.file_format == "jsonl"
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_a_file_url_is_a_local_path() -> None:
    job = load(MINIMAL.replace("in.csv", "file:///data/a%20b.csv"))
    assert job.source.path == Path("/data/a b.csv")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/a.csv",
        "s3://hunter2@bucket/a.csv",
        "s3://bucket/a.csv?secret_key=hunter2",
        "https://host/a.csv?sig=hunter2",
        "zip://a.csv::https://hunter2@host/b.zip",
        "zip://a.csv::https://host/b.zip?sig=hunter2",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    (complaint,) = complaints(MINIMAL.replace("in.csv", f'"{url}"'))
    assert complaint.startswith(
        "2:16: source.path: a URL in a job holds no password, key or token; remove it, and give it "
        "in the environment"
    )
    assert "hunter2" not in complaint


@pytest.mark.parametrize("url", ["s3://u:hunter2\u2100@bucket/a.csv", "https://[hunter2/a.csv"])
def test_a_url_that_python_cannot_read_is_not_repeated(url: str) -> None:
    (complaint,) = complaints(MINIMAL.replace("in.csv", f'"{url}"'))
    expected = "2:16: source.path: expected a URL, such as s3://bucket/table.parquet"
    assert complaint == expected


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (
            "{path: 's3://bucket/out.csv'}",
            "3:16: target.path: expected a local path: a target at a URL is not supported",
        ),
        (
            "{path: out.csv, keep_versions: 2}",
            "3:9: target: only folders have versions: add partition_by ([] for one file), or "
            "remove keep_versions",
        ),
        (
            "{path: out.csv, mode: upsert}",
            "3:9: target: `mode: upsert` finds the rows to replace by columns.key, which is empty; "
            "name the columns that identify a row there",
        ),
        (
            "{path: in.csv/out, format: csv, partition_by: [a]}",
            "3:9: target: this is the source's own file or folder, which would be overwritten; "
            "choose another path",
        ),
    ],
)
def test_a_target_that_does_not_fit_is_explained(target: str, complaint: str) -> None:
    assert complaints(f"name: air\nsource: {{path: in.csv}}\ntarget: {target}\n") == [complaint]


# --- Data dates --------------------------------------------------------------------------------


def dated(source: str = "in/{date}.csv", target: str = "out/{date:%Y/%m}.csv") -> Job:
    return load(f"name: a\nsource: {{path: '{source}'}}\ntarget: {{path: '{target}'}}\n")


def test_the_date_stands_in_source_and_target() -> None:
    job = dated().at(date(2026, 2, 3))
    assert (str(job.source), str(job.target)) == ("in/2026-02-03.csv", "out/2026/02.csv")
    assert isinstance(job.source, FileSource)
    assert isinstance(job.source.path, Path)
    url = dated(source="s3://lake/{date:%j}/x.parquet").at(date(2026, 2, 3))
    assert str(url.source) == "s3://lake/034/x.parquet"


def test_the_date_stands_in_tables_and_queries() -> None:
    job = load(
        "name: a\n"
        "source: {url: 'sqlite:///a.db', query: 'select * from t where day = ''{date}'';'}\n"
        "target: {url: 'sqlite:///a.db', table: 'day_{date:%Y%m%d}'}\n"
    ).at(date(2026, 2, 3))
    assert isinstance(job.source, DatabaseSource)
    assert job.source.query == "select * from t where day = '2026-02-03'"
    assert isinstance(job.target, DatabaseTarget)
    assert job.target.table == "day_20260203"


def test_a_job_without_a_place_for_the_date_is_the_same_every_day() -> None:
    job = load(MINIMAL)
    assert not job.is_dated
    assert job.at(date(2026, 2, 3)) == job
    assert dated().is_dated


def test_braces_of_others_stay() -> None:
    assert str(dated(source="in/{region}.csv").source) == "in/{region}.csv"


@pytest.mark.parametrize("path", ["in/{date.csv", "in/{date!r}.csv", "in/{dates}.csv"])
def test_what_looks_like_a_date_must_be_one(path: str) -> None:
    assert complaints(f"name: a\nsource: {{path: '{path}'}}\ntarget: {{path: o.csv}}\n") == [
        "2:16: source.path: expected {date}, or a format within, such as {date:%Y-%m-%d}"
    ]


@pytest.mark.parametrize("form", ["", "%H", "%", "%Y%", "%-d", "x"])
def test_a_date_is_written_with_known_parts(form: str) -> None:
    [complaint] = complaints(
        f"name: a\nsource: {{path: 'in/{{date:{form}}}.csv'}}\ntarget: {{path: o.csv}}\n"
    )
    assert complaint.startswith("2:16: source.path: a date is written with %Y, %y, %m, %d")


def test_a_target_that_is_the_source_on_one_day_is_refused() -> None:
    job = dated(source="in/{date}.csv", target="in/2026-02-03.csv")
    assert job.at(date(2026, 2, 4))
    with pytest.raises(CannotRun, match=r":3:9: target: on 2026-02-03 this is the source's own"):
        job.at(date(2026, 2, 3))


def test_the_data_date_is_the_schedules_day() -> None:
    """At 02:30 UTC it is still the day before in New York, and the data are of one day earlier."""
    job = load(
        f"{MINIMAL}schedule:\n"
        "  - {cron: 30 2 * * *}\n"
        "  - {cron: 30 21 * * *, timezone: America/New_York, offset_days: -1}\n"
    )
    moment = datetime(2026, 2, 3, 2, 30, tzinfo=UTC)
    assert job.data_date(moment) == date(2026, 2, 3)
    assert job.data_date(moment, schedule=1) == date(2026, 2, 1)
    assert load(MINIMAL).data_date(moment) == date(2026, 2, 3)


# --- What is wrong with a key or a value -------------------------------------------------------

JOB_KEYS = (
    "name, description, tags, source, columns, model, imputation, self_test, checks, target, "
    "report, batch_rows, time_limit, keep_runs, schedule"
)
MODEL_KEYS = "tol, max_iter, prior, acceleration, time_limit, n_starts, min_group_rows"
CHECK_EXPECTED = (
    "expected one expectation with its options, such as "
    "{expect_column_values_to_not_be_null: {column: Temp}}"
)
SELF_TEST_EXPECTED = (
    "expected off, fill or refit, or a mapping such as "
    "{method: fill, max_rmse_ratio: 1.0, min_coverage_95: 0.9}"
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: b", "4:1: name: this key was already given on line 1"),
        ("model: {tol: 0.1, tol: 0.1}", "4:19: model.tol: this key was already given on line 4"),
        (
            "colums: {}",
            f"4:1: colums: unknown key (did you mean columns?); allowed here: {JOB_KEYS}",
        ),
        ("xyz: {}", f"4:1: xyz: unknown key; allowed here: {JOB_KEYS}"),
        (r'"a\nb": 1', rf"4:1: 'a\nb': unknown key; allowed here: {JOB_KEYS}"),
        (
            "model:\n  max_iters: 5",
            "5:3: model.max_iters: unknown key (did you mean max_iter?); "
            f"allowed here: {MODEL_KEYS}",
        ),
        (
            "columns: {imputed: [a]}",
            "4:11: columns.imputed: unknown key (did you mean impute?); "
            "allowed here: impute, predictors, key, group_by, transform, back_transform, "
            "bounds, bounds_violated, strict, round, categories",
        ),
        (
            "checks: {before: []}",
            "4:10: checks.before: unknown key; allowed here: input, output, max_rows",
        ),
        (
            "imputation: {draws: 1}",
            "4:14: imputation.draws: unknown key; allowed here: method, seed, mask",
        ),
        ("imputation: {seed: -1}", "4:20: imputation.seed: expected a number of 0 or more"),
        (
            "imputation: {mask: 3}",
            "4:20: imputation.mask: expected true or false, got a whole number",
        ),
        ("self_test: maybe", f"4:12: self_test: {SELF_TEST_EXPECTED}"),
        ("self_test: false", f"4:12: self_test: {SELF_TEST_EXPECTED}"),
        ("self_test: {method: mean}", "4:21: self_test.method: expected off, fill or refit"),
        (
            "self_test: {min_coverage: 0.9}",
            "4:13: self_test.min_coverage: unknown key (did you mean min_coverage_95?); allowed "
            "here: method, max_share, max_cells, seed, max_rmse_ratio, min_coverage_95, "
            "max_pit_distance, min_accuracy, min_accuracy_gain",
        ),
        ("self_test: {max_share: 2}", "4:24: self_test.max_share: expected a number of 1 or less"),
        (
            "self_test: {min_coverage_95: 95}",
            "4:30: self_test.min_coverage_95: expected a number below 1; "
            "for example `min_coverage_95: 0.9`",
        ),
        (
            "self_test: {max_rmse_ratio: {amount: 0.9, price: -1}}",
            "4:50: self_test.max_rmse_ratio.price: expected a number above 0",
        ),
        (
            "self_test: {min_accuracy: {sex: 80}}",
            "4:33: self_test.min_accuracy.sex: expected a number below 1",
        ),
        (
            "self_test: {min_accuracy_gain: good}",
            "4:32: self_test.min_accuracy_gain: expected a number, got text; "
            "for example `min_accuracy_gain: 0.0`",
        ),
        (
            "self_test: {max_pit_distance: {}}",
            "4:31: self_test.max_pit_distance: expected at least one column with its limit; "
            "leave the key out for none",
        ),
        (
            "self_test: {method: off, max_rmse_ratio: 1.0}",
            "4:12: self_test: `method: off` tests nothing, so it has no limits; remove one of both",
        ),
        (
            "self_test: {method: refit, max_share: 0.6}",
            "4:12: self_test: with `method: refit` max_share is at most 0.5, so that the second "
            "fit has cells left; lower it, or test with `method: fill`",
        ),
        (
            "schedule: {cron: 0 3 * * *, timezon: UTC}",
            "4:29: schedule.timezon: unknown key (did you mean timezone?); "
            "allowed here: cron, interval, rrule, timezone, offset_days",
        ),
        ("columns: [a]", "4:10: columns: expected a mapping (`key: value`), got a list"),
        (
            "columns:",
            "4:1: columns: expected a mapping (`key: value`), got nothing; "
            "leave the key out for the default",
        ),
        (
            "columns: {impute: Ozone}",
            "4:19: columns.impute: expected a list, got text; "
            "for example `impute: [Ozone, Solar.R]`",
        ),
        (
            "columns: {impute: []}",
            "4:19: columns.impute: expected at least one name; leave the key out for the default",
        ),
        (
            "columns: {impute: [a, 2020]}",
            "4:23: columns.impute.1: expected text, got a whole number; put it in quotes",
        ),
        ("columns: {key: [null]}", "4:17: columns.key.0: expected text, got nothing"),
        ("columns: {key: [{a: 1}]}", "4:17: columns.key.0: expected text, got a mapping"),
        (
            "columns: {impute: [a, b, a, b, c]}",
            "4:19: columns.impute: a, b: named more than once in this list; keep one",
        ),
        (
            "columns:\n  impute: [a, b]\n  predictors: [c, b]",
            "6:15: columns.predictors: b: also in columns.impute; remove it from one of them",
        ),
        (
            "columns:\n  impute: [a, b]\n  key: [a, c]",
            "6:8: columns.key: a: also in columns.impute; remove it from one of them",
        ),
        ("model: {tol: small}", "4:14: model.tol: expected a number, got text"),
        ("model: {tol: true}", "4:14: model.tol: expected a number, got true or false"),
        ("model: {tol: 0}", "4:14: model.tol: expected a number above 0"),
        ("model: {tol: 1}", "4:14: model.tol: expected a number below 1"),
        (
            "model: {tol: .inf}",
            "4:14: model.tol: expected a finite number; for no limit leave the key out",
        ),
        (
            "model: {tol: !!float x}",
            "4:14: model.tol: the text does not fit the tag before it, or the number is too long",
        ),
        (
            "model: {max_iter: 10.5}",
            "4:19: model.max_iter: expected a whole number, got a number with a decimal point",
        ),
        ("model: {max_iter: '10'}", "4:19: model.max_iter: expected a whole number, got text"),
        ("model: {max_iter: 0}", "4:19: model.max_iter: expected a number of 1 or more"),
        (
            "model: {prior: ridge}",
            "4:16: model.prior: expected auto, or a number of pseudo-rows that is 0 or more",
        ),
        (
            "model: {prior: -1}",
            "4:16: model.prior: expected auto, or a number of pseudo-rows that is 0 or more",
        ),
        (
            "model: {acceleration: warp}",
            "4:23: model.acceleration: expected anderson, squarem or none",
        ),
        (
            "model: {time_limit: 0}",
            "4:21: model.time_limit: expected a number above 0; for example `time_limit: 600`",
        ),
        ("imputation: {method: median}", "4:22: imputation.method: expected mean or draw"),
        (
            "checks: {input: {expect_x: {}}}",
            "4:17: checks.input: expected a list, got a mapping",
        ),
        ("checks: {input: [expect_x]}", f"4:18: checks.input.0: {CHECK_EXPECTED}"),
        ("checks: {input: [{}]}", f"4:18: checks.input.0: {CHECK_EXPECTED}"),
        (
            "checks:\n  output:\n    - expect_x: {}\n      severity: info",
            f"6:7: checks.output.0: {CHECK_EXPECTED}",
        ),
        (
            "checks: {input: [{expect_x: [a]}]}",
            "4:29: checks.input.0.expect_x: expected a mapping (`key: value`), got a list",
        ),
        (
            "checks:\n  output:\n    - expect_x:\n        column: a\n        severity: fatal",
            "8:19: checks.output.0.expect_x.severity: expected critical, warning or info",
        ),
        (
            "schedule: {}",
            "4:11: schedule: expected one of cron, interval and rrule, got none of them",
        ),
        (
            "schedule: {cron: 0 3 * * *, interval: 60}",
            "4:11: schedule: expected one of cron, interval and rrule, got cron and interval",
        ),
        (
            "schedule: {cron: daily}",
            "4:18: schedule.cron: expected the five fields of cron "
            '(minute, hour, day, month, weekday), such as "0 3 * * *"',
        ),
        *(
            (
                f"schedule: {{interval: {interval}}}",
                "4:22: schedule.interval: expected 60 seconds to 10 years, in seconds or as an "
                "ISO 8601 duration such as PT1H30M",
            )
            for interval in ("0", "-60", "59.9", "true", "1h30m", "1e300", "1e9", "PT0.001S")
        ),
        (
            "schedule:\n  - {cron: 0 3 * * *}\n  - {cron: daily}",
            "6:12: schedule.1.cron: expected the five fields of cron "
            '(minute, hour, day, month, weekday), such as "0 3 * * *"',
        ),
        (
            "schedule:\n  - {cron: 0 3 * * *, timezon: UTC}",
            "5:23: schedule.0.timezon: unknown key (did you mean timezone?); "
            "allowed here: cron, interval, rrule, timezone, offset_days",
        ),
        *(
            (
                f"schedule: {{rrule: '{rule}'}}",
                "4:19: schedule.rrule: expected one recurrence rule of RFC 5545, such as "
                '"FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0;BYSECOND=0"',
            )
            for rule in ("daily", "FREQ=DALY", "RRULE:FREQ=DAILY\\nRRULE:FREQ=WEEKLY", "")
        ),
        (
            "schedule: {cron: 0 3 * * *, timezone: Europe/Pari}",
            "4:39: schedule.timezone: unknown time zone (did you mean Europe/Paris?); "
            "expected an IANA name such as Europe/Paris",
        ),
    ],
)
def test_a_mistake_in_an_optional_key_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]


NO_FORMAT = (
    "the path does not tell the format, as it would by ending in "
    ".csv, .parquet, .pq, .feather, .arrow, .jsonl, .ndjson; add for example `format: csv`"
)
SCALARS = (str, int, float)
NAME_EXAMPLE = "for example `name: airquality`"
PATH_EXAMPLE = "for example `path: data/table.csv`"
NO_PATH = "expected the path of a file, such as data/table.csv"


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        (
            "name",
            "air/q",
            "1:7: name: expected letters, digits, - and _ only, "
            f"with a letter or digit first; {NAME_EXAMPLE}",
        ),
        ("name", "a" * 101, f"1:7: name: expected at most 100 characters; {NAME_EXAMPLE}"),
        ("name", "2020", "1:7: name: expected text, got a whole number; put it in quotes"),
        ("name", "", f"1:1: name: expected text, got nothing; {NAME_EXAMPLE}"),
        (
            "source",
            "in.csv",
            "2:9: source: expected a mapping (`key: value`), got text; "
            "for example `source: {path: data/airquality.csv}`",
        ),
        ("source", "{format: csv}", f"2:9: source.path: this key is missing; {PATH_EXAMPLE}"),
        (
            "source",
            "{path: 5}",
            f"2:16: source.path: expected text, got a whole number; {PATH_EXAMPLE}",
        ),
        ("source", "{path: ''}", f"2:16: source.path: {NO_PATH}"),
        ("source", r'{path: "a\0.csv"}', f"2:16: source.path: {NO_PATH}"),
        (
            "source",
            "{path: ~/in.csv}",
            "2:16: source.path: ~ is not expanded in a job; write the folder in full",
        ),
        ("source", "{path: in.xls}", f"2:9: source: {NO_FORMAT}"),
        (
            "source",
            "{path: in.csv, format: xls}",
            "2:32: source.format: expected csv, parquet, feather or jsonl",
        ),
        ("target", "{path: out}", f"3:9: target: {NO_FORMAT}"),
        (
            "target",
            "{path: ./x/../in.csv}",
            "3:9: target: this is the source's own file or folder, which would be overwritten; "
            "choose another path",
        ),
    ],
)
def test_a_mistake_in_a_required_key_is_explained_at_its_place(
    key: str, value: str, complaint: str
) -> None:
    assert complaints(re.sub(rf"(?m)^{key}: .*", lambda _: f"{key}: {value}", MINIMAL)) == [
        complaint
    ]


def test_a_missing_key_is_reported_where_it_lacks() -> None:
    assert complaints("\nname: air") == [
        "2:1: source: this key is missing; for example `source: {path: data/airquality.csv}`",
        "2:1: target: this key is missing; for example `target: {path: out/airquality.parquet}`",
    ]


def test_a_target_that_is_a_link_to_the_source_is_refused() -> None:
    Path("out.csv").symlink_to("in.csv")
    (complaint,) = complaints(MINIMAL)
    assert "this is the source's own file" in complaint


def test_all_mistakes_are_reported_from_top_to_bottom() -> None:
    text = """\
nam: air
source: {path: in.csv, format: 5}
columns:
  impute: [a, a]
  predictors: 3
  predictors: 4
checks:
  input:
    - {expect_x: 1}
    - {expect_y: {severity: bad}, expect_z: {}}
model: {tol: !!python/name:os x, max_iter: 0}
schedule: {cron: x, timezone: y}
"""
    places = [": ".join(complaint.split(": ")[:2]) for complaint in complaints(text)]
    assert places == [
        "1:1: name",
        "1:1: target",
        "1:1: nam",
        "2:32: source.format",
        "4:11: columns.impute",
        "5:15: columns.predictors",
        "6:3: columns.predictors",
        "9:18: checks.input.0.expect_x",
        "10:7: checks.input.1",
        "11:14: model.tol",
        "11:44: model.max_iter",
        "12:18: schedule.cron",
        "12:31: schedule.timezone",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "name: hunter2/\nsource: hunter2\ntarget: [hunter2]\ncolumns: hunter2\nmodel: hunter2",
        "source: {path: hunter2, format: hunter2}\ntarget: {path: ~/hunter2, format: hunter2}",
        "columns: {impute: hunter2, predictors: hunter2, key: {a: hunter2}}",
        "model: {tol: hunter2, max_iter: hunter2, prior: hunter2, time_limit: hunter2}",
        "model: {acceleration: hunter2}\nimputation: {method: hunter2}\nchecks: [hunter2]",
        "checks: {input: [hunter2, {expect_x: hunter2}, {expect_x: {severity: hunter2}}]}",
        "schedule: {cron: hunter2, interval: hunter2, timezone: hunter2}",
        "unknown: hunter2\nname: hunter2\nname: hunter2",
        "name: *hunter2",
        "name: !hunter2 x",
        "name: &hunter2 [&hunter2 x",
        "name: 'hunter2",
        "name: @hunter2",
        "name: hunter2: hunter2",
        "hunter2",
        '"hunter2',
        "name: x\nhunter2\nname: y",
    ],
)
def test_no_message_repeats_a_value(text: str) -> None:
    """Values can be secrets that stand at the wrong place."""
    assert "hunter2" not in "\n".join(complaints(text))


def test_no_message_speaks_the_language_of_the_validator() -> None:
    jargon = re.compile(
        r"pydantic|ruamel|Input should|Value error|https?:|NoneType|\bstr\b|\bdict\b"
    )
    text = "name: 1\nsource: 1\ncolumns: {impute: 1}\nmodel: {tol: a}\nchecks: {input: [1]}\nx: 1"
    assert not jargon.search("\n".join(complaints(text)))


# --- A job elsewhere than in its file ----------------------------------------------------------


def test_place_points_into_the_file_or_to_the_nearest_that_is_written() -> None:
    job = load(FULL)
    assert job.place("checks", "input", 0) == "job.yaml:16:7"
    check = ("checks", "input", 1, "expect_column_mean_to_be_between")
    assert job.place(*check, "min_value") == "job.yaml:19:20"
    assert job.place(*check, "max_value") == "job.yaml:18:9"
    assert job.place("columns", "impute", 1) == "job.yaml:4:19"
    assert job.place() == "job.yaml:1:1"


def test_place_is_the_dotted_path_for_a_job_made_in_python() -> None:
    job = Job(
        name="a", source=FileSource(path=Path("a.csv")), target=FileTarget(path=Path("b.csv"))
    )
    assert job.place("checks", "input", 0) == "checks.input.0"


def test_a_job_is_equal_wherever_it_was_written() -> None:
    assert load(MINIMAL) == load("# moved down\n\n" + MINIMAL)


def test_a_job_and_its_places_survive_pickling() -> None:
    job = load(FULL)
    thawed = pickle.loads(pickle.dumps(job))
    assert thawed == job
    assert thawed.place("model", "tol") == job.place("model", "tol") == "job.yaml:8:8"


def test_an_error_survives_pickling() -> None:
    error = JobError([Problem("job.yaml:1:1", "name: wrong"), Problem("job.yaml", "wrong")])
    assert str(pickle.loads(pickle.dumps(error))) == "job.yaml:1:1: name: wrong\njob.yaml: wrong"


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(MINIMAL).name = "other"  # type: ignore[misc]


def test_a_check_keeps_its_severity_out_of_its_options() -> None:
    with pytest.raises(ValidationError, match="severity is a field of its own"):
        Check(expectation="expect_x", kwargs={"severity": "info"})


# --- Properties --------------------------------------------------------------------------------

# ruamel.yaml writes these characters as they are, but reads them as line breaks.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))
names = st.lists(texts, unique=True, max_size=3)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
checks = st.lists(
    st.builds(
        Check,
        expectation=texts,
        kwargs=st.dictionaries(texts.filter("severity".__ne__), json_values, max_size=3),
        severity=st.sampled_from(["critical", "warning", "info"]),
    ),
    max_size=2,
)
rhythms = st.fixed_dictionaries({"cron": st.just("*/5 0 * * 1-5")}) | st.fixed_dictionaries(
    {"interval": st.timedeltas(timedelta(minutes=1), timedelta(days=3660))}
)
schedules = rhythms.flatmap(
    lambda rhythm: st.fixed_dictionaries(
        {
            **{key: st.just(value) for key, value in rhythm.items()},
            "timezone": st.just("Europe/Paris"),
            "offset_days": st.integers(-3660, 3660),
        }
    )
)


transforms = st.sampled_from(["log", "sqrt", {"logit": (0.0, 1.0)}])
bounds = st.sampled_from([(None, 1.5), (0.0, None), (None, None), (-1e300, 1e-300)])


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Draw any job that the models accept."""
    impute, predictors, key = draw(names), draw(names), draw(names)
    free = [[name for name in others if name not in impute] for others in (predictors, key)]
    folder = draw(texts.filter(lambda text: "\0" not in text and "{date" not in text))
    suffix = draw(st.sampled_from([".csv", ".PQ", ".arrow", ".jsonl"]))
    return Job.model_validate(
        {
            "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", fullmatch=True)),
            "source": {"path": f"in/{folder}/a{suffix}"},
            "columns": {
                "impute": impute or None,
                "predictors": free[0],
                "key": free[1],
                "transform": draw(st.dictionaries(texts, transforms, max_size=2)),
                "bounds": draw(st.dictionaries(texts, bounds, max_size=2)),
                "round": draw(st.booleans() | names),
            },
            "imputation": {"method": "draw", "seed": draw(st.integers(min_value=0))},
            "self_test": draw(
                st.sampled_from(["off", "refit", {"max_cells": 10, "max_pit_distance": 0.5}])
            ),
            "model": {
                "tol": draw(st.floats(0, 1, exclude_min=True, exclude_max=True)),
                "max_iter": draw(st.integers(min_value=1)),
                "prior": draw(st.just("auto") | st.floats(0, allow_infinity=False)),
                "acceleration": draw(st.sampled_from(["anderson", "squarem", "none"])),
                "time_limit": draw(
                    st.none() | st.floats(0, exclude_min=True, allow_infinity=False)
                ),
                "min_group_rows": draw(st.none() | st.integers(min_value=2)),
            },
            "checks": {"input": draw(checks), "output": draw(checks)},
            "target": {
                "path": f"out/{folder}",
                "format": draw(st.sampled_from(["csv", "parquet"])),
            },
            "schedule": draw(st.none() | schedules | st.lists(schedules, max_size=3)),
        }
    )


@pytest.fixture(scope="module")
def job_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs") / "job.yaml"


@given(job=jobs())
@settings(deadline=None, max_examples=50)
def test_every_job_survives_yaml(job_file: Path, job: Job) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False  # ruamel.yaml writes a name such as ?0 bare into [ ]
    yaml.dump(job.model_dump(mode="json"), job_file)
    assert load_job(job_file) == job


@given(job=jobs())
@settings(deadline=None, max_examples=50)
def test_every_job_survives_json(job: Job) -> None:
    """As a flow's parameter a job travels as JSON."""
    assert Job.model_validate(json.loads(json.dumps(job.model_dump(mode="json")))) == job
    assert Job.model_validate_json(job.model_dump_json()) == job


@given(job=jobs())
@settings(deadline=None, max_examples=50)
def test_every_job_satisfies_the_schema(job: Job) -> None:
    SCHEMA.validate(job.model_dump(mode="json"))


SCRAPS = r"- : ? [ { ] } ' | > &a *a !!int !!set !x << ~ %YAML --- ... \ \U9999999 #"
scraps = st.lists(
    st.sampled_from([*SCRAPS.split(), *FULL.split(), '"', "\t", "\n", "\n  ", "%YAML 9.9\n"])
).map(" ".join)


def outcome(path: Path) -> str:
    """Load a job that may be wrong in any way; give the complaint, if there is one."""
    try:
        load_job(path)
    except JobError as error:
        return str(error)
    return ""


@given(content=st.binary() | (st.text() | scraps).map(str.encode))
@example(content=b"%YAML 3.4\n---\na: b")
@example(content=rb'"\U99999999"')
@example(content=rb'"\U00999999"')
@example(content=b"a: " + b"9" * 5000)
@example(content=b"[" * 1000)
@example(content=b"a: &a {b: *a}")
@settings(deadline=None, max_examples=150)
def test_any_file_gives_a_job_or_a_job_error(job_file: Path, content: bytes) -> None:
    job_file.write_bytes(content)
    assert outcome(job_file).startswith(str(job_file))


TRANSFORM_EXPECTED = "expected log, log1p, sqrt, cbrt, or for example {logit: [0, 100]}"
BOUNDS_EXPECTED = "expected [low, high], each a number, or null where there is no bound"
LEVELS_EXPECTED = (
    "expected nominal, or the levels in their order, such as [low, mid, high]: "
    "two or more texts, each once"
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{transform: {a: lg}}", f"4:26: columns.transform.a: {TRANSFORM_EXPECTED}"),
        ("{transform: {b: {logit: [1, 0]}}}", f"4:26: columns.transform.b: {TRANSFORM_EXPECTED}"),
        ("{back_transform: mode}", "4:27: columns.back_transform: expected median or mean"),
        (
            "{bounds: {a: [2, 1]}}",
            "4:23: columns.bounds.a: the lower bound is above the upper one; write [low, high]",
        ),
        ("{bounds: {a: [0]}}", f"4:23: columns.bounds.a: {BOUNDS_EXPECTED}"),
        ("{bounds: {a: [low, 1]}}", f"4:23: columns.bounds.a: {BOUNDS_EXPECTED}"),
        (
            "{round: some}",
            "4:18: columns.round: expected true for every imputed column, "
            "or a list of columns, each once",
        ),
        ("{categories: {b: [one]}}", f"4:27: columns.categories.b: {LEVELS_EXPECTED}"),
        ("{categories: {b: [x, x]}}", f"4:27: columns.categories.b: {LEVELS_EXPECTED}"),
        (
            "{bounds: {a: [0, 1]}, categories: {a: nominal}}",
            "4:44: columns.categories: a: categories have no transform and no bounds; "
            "remove the column from one of them",
        ),
    ],
)
def test_a_wrong_option_of_a_column_is_explained(text: str, complaint: str) -> None:
    assert complaints(f"{MINIMAL}columns: {text}") == [complaint]


@given(cut=st.integers(0, len(FULL)), length=st.integers(0, 30), scrap=scraps)
@settings(deadline=None, max_examples=150)
def test_any_damage_to_a_job_gives_a_job_or_a_job_error(
    job_file: Path, cut: int, length: int, scrap: str
) -> None:
    job_file.write_text(FULL[:cut] + scrap + FULL[cut + length :], encoding="utf-8")
    assert "another value" not in outcome(job_file)


# --- The schema and the page -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "colums: {}",
        "model: {tol: 1}",
        "model: {prior: ridge}",
        "columns: {impute: []}",
        "columns: {key: [a, a]}",
        "checks: {input: [{expect_x: {}, expect_y: {}}]}",
        "checks: {input: [{expectation: expect_x, kwargs: {}}]}",
        "checks: {input: [{expect_x: {severity: fatal}}]}",
        "checks: {input: [{expect_x: 5}]}",
        "schedule: {cron: 0 3 * * *, interval: 60}",
        "schedule: {timezone: UTC}",
        "self_test: maybe",
        "self_test: {max_share: 0}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    data = YAML(typ="safe", pure=True).load(MINIMAL + text)
    assert not SCHEMA.is_valid(data)
    assert complaints(MINIMAL + text)


def test_the_schema_is_valid_and_describes_every_key() -> None:
    schema = job_schema()
    SCHEMA.check_schema(schema)
    assert schema["title"] == "em_impute job"
    for section in [schema, *schema["$defs"].values()]:
        assert section["description"]
        for part in section.get("properties", {}).values():
            assert part.get("description") or part["$ref"]


def keys_of(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """List the dotted keys of the schema, with the default that the page must show (if any)."""
    for key, value in part["properties"].items():
        default = value.get("default")
        required = key in part.get("required", ())
        yield (
            key,
            "required"
            if required
            else f"`{default}`".replace("False", "false").replace("True", "true")
            if isinstance(default, SCALARS)
            else "",
        )
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(value)):
            if "properties" in (section := job_schema()["$defs"][name]):
                yield from ((f"{key}.{below}", shown) for below, shown in keys_of(section))


def test_the_page_describes_every_key_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \|[^|]+\| ([^|]+) \|[^|]+\|$", DOCS, re.MULTILINE))
    expected = dict(keys_of(job_schema()))
    assert rows.keys() == expected.keys()
    assert {key: rows[key] for key, default in expected.items() if default} == {
        key: default for key, default in expected.items() if default
    }


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL))
def test_the_examples_of_the_page_load(block: str) -> None:
    """An example that shows a part only is completed to a job."""
    given_keys = re.findall(r"^(\w+):", block, re.MULTILINE)
    rest = [line for line in MINIMAL.splitlines() if line.split(":")[0] not in given_keys]
    assert load("\n".join([*rest, block])).name


def test_the_page_shows_the_real_messages() -> None:
    ((job, messages),) = re.findall(
        r"```yml\n(.*?)```\n\ngives\n\n```text\n(.*?)```", DOCS, re.DOTALL
    )
    assert [f"job.yaml:{complaint}" for complaint in complaints(job)] == messages.splitlines()


NO_PASSWORD = "a password must not stand in a job; "
BY_VARIABLE = "for example `password: {env: WAREHOUSE_PASSWORD}`"
BY_BLOCK = "or a block of Prefect, such as `password: {block: secret/warehouse-password}`"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (
            "{url: 'postgresql://u:geheim@h/d', table: a}",
            "{url: duckdb:///x.duckdb, table: a.b, mode: upsert}",
            [
                f"2:15: source.url: {NO_PASSWORD}take it out and name the environment variable "
                f"that holds it, {BY_VARIABLE}",
                "3:9: target: `mode: upsert` finds the rows to replace by columns.key, which is "
                "empty; name the columns that identify a row there",
            ],
        ),
        (
            "{url: postgresql://h/d}",
            "{url: 'postgresql://h/d?password=geheim', tabel: x, table: x, password: geheim}",
            [
                "2:9: source: expected either table or query, got neither",
                f"3:15: target.url: {NO_PASSWORD}take it out and name the environment variable "
                f"that holds it, {BY_VARIABLE}",
                "3:51: target.tabel: unknown key (did you mean table?); "
                "allowed here: url, password, table, mode, narrowing",
                f"3:81: target.password: {NO_PASSWORD}name the environment variable that holds "
                f"it, {BY_VARIABLE}, {BY_BLOCK}",
            ],
        ),
        (
            "{url: {block: Warehouse}, table: a}",
            "{url: {block: secret/url}, table: x, password: {block: secret/a, env: B}}",
            [
                "2:15: source.url: expected the URL of a database, such as "
                "postgresql://host/database, sqlite:///file.db or duckdb:///file.duckdb, or the "
                "environment variable that holds it, such as {env: WAREHOUSE_URL}, or a block of "
                "Prefect, such as {block: em-impute-database/warehouse}",
                f"3:56: target.password: {NO_PASSWORD}name the environment variable that holds "
                f"it, {BY_VARIABLE}, {BY_BLOCK}",
            ],
        ),
        (
            "{url: {env: X}, table: a}",
            "{url: {env: X}, table: a}",
            [
                "3:9: target: this is the source's own table, which would be overwritten; "
                "choose another table"
            ],
        ),
    ],
)
def test_mistakes_in_a_database(source: str, target: str, expected: list[str]) -> None:
    found = complaints(f"name: x\nsource: {source}\ntarget: {target}\n")
    assert found == expected
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sqlite:///:memory:", "expected a file: a database in memory ends with the program"),
        ("duckdb:///:memory:", "expected a file: a database in memory ends with the program"),
        ("sqlite:///a%00b", "expected the path of a file after three slashes"),
        (
            "postgresql://u:x@hunter2/y@h/d",
            "in the URL of a database, a user or password is written with %2F for /",
        ),
    ],
)
def test_a_database_that_is_no_place(url: str, complaint: str) -> None:
    found = complaints(f"name: x\nsource: {{url: '{url}', table: t}}\ntarget: {{path: x.csv}}\n")
    assert found[0].startswith(f"2:15: source.url: {complaint}")
    assert "hunter2" not in str(found)


def test_a_password_is_not_quoted_by_pydantic() -> None:
    source = {"url": "postgresql://u:geheim@h/d", "table": "x"}
    with pytest.raises(ValidationError) as caught:
        Job.model_validate({"name": "x", "source": source, "target": {"path": "x.csv"}})
    assert "a password must not stand in a job" in str(caught.value)
    assert "geheim" not in str(caught.value)
