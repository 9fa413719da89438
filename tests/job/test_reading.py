"""A job file is read: what loads, and the message and place of each mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from job_files import FULL, MINIMAL, complaints, load

from em_impute.job import JobError, load_job, parse_job

# --- What loads --------------------------------------------------------------------------------


def test_a_job_is_read_from_text_too() -> None:
    """JSON is YAML; mistakes are said as those in a file are."""
    assert parse_job(MINIMAL) == parse_job(load(MINIMAL).model_dump_json()) == load(MINIMAL)
    with pytest.raises(JobError, match=r"^job:4:1: modell: unknown key \(did you mean model\?\)"):
        parse_job(MINIMAL + "modell: {}\n")
    for broken in ("\ud800", "#" * 300_000):
        with pytest.raises(JobError, match=r"^text: (not UTF-8|larger than a job may be)"):
            parse_job(broken, "text")


def test_words_that_old_yaml_takes_for_booleans_and_dates_are_column_names() -> None:
    names = ("NO", "y", "off", "2020-01-01", "1:30", "<<", "=")
    assert load(f"{MINIMAL}columns: {{impute: [{', '.join(names)}]}}").columns.impute == names


@pytest.mark.parametrize("text", ["1e-6", "1.0e-6", "0.000001"])
def test_numbers_in_any_notation_are_numbers(text: str) -> None:
    assert load(f"{MINIMAL}model: {{tol: {text}}}").model.tol == 1e-6


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


# --- What is wrong with a key or a value -------------------------------------------------------


JOB_KEYS = (
    "name, description, tags, source, columns, model, imputation, self_test, checks, target, "
    "report, engine, state, batch_rows, time_limit, keep_runs, schedule, "
    "after, notify"
)
NO_FORMAT = (
    "the path ends in none of .csv, .parquet, .pq, .feather, .arrow, .jsonl, .ndjson; "
    "add its format, for example `format: csv`"
)
NAME_EXAMPLE = "for example `name: airquality`"
PATH_EXAMPLE = "for example `path: data/table.csv`"
NO_PATH = "expected the path of a file, such as data/table.csv"


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
    ],
)
def test_an_unknown_or_repeated_key_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]


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


# --- Any file ----------------------------------------------------------------------------------


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


@given(cut=st.integers(0, len(FULL)), length=st.integers(0, 30), scrap=scraps)
@settings(deadline=None, max_examples=150)
def test_any_damage_to_a_job_gives_a_job_or_a_job_error(
    job_file: Path, cut: int, length: int, scrap: str
) -> None:
    job_file.write_text(FULL[:cut] + scrap + FULL[cut + length :], encoding="utf-8")
    assert "another value" not in outcome(job_file)
