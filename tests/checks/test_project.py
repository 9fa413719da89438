"""A project's suites on a job's tables, and the actions of its checkpoints on what came out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from conftest import ROOT
from great_expectations.checkpoint import ValidationAction
from gx_projects import HOOK, change, content, make_project
from receivers import NEVER, receiving

from em_impute.checks import (
    Checked,
    actions,
    check_input,
    check_output,
    check_rows,
    columns_needed,
    output_checks,
    take,
    verify_checks,
)
from em_impute.job import Job, JobError
from em_impute.job.confinement import CODE_ROOT
from em_impute.job.confinement import ROOT as JOBS_ROOT

AIR = pd.read_csv(ROOT / "data/airquality.csv")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, "gx"))


def job(**checks: Any) -> Job:
    return Job.model_validate(
        {
            "name": "air",
            "source": {"path": "in.csv"},
            "target": {"path": "out.csv"},
            "imputation": {"mask": True},
            "checks": {"context": "gx", **checks},
        }
    )


def of_input(**checks: Any) -> Checked:
    """What comes of the checks of the table as it was read, with Ozone's holes."""
    asked = job(**checks)
    theirs = take(asked, "input")
    return check_input(AIR, asked.checks.input, (), theirs=theirs)


class Breaks(ValidationAction):
    """An action of the user's own that fails, with a secret in its words."""

    type: Literal["breaks"] = "breaks"

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[str, Any]:
        print("https://hooks.example/secretPath")
        raise RuntimeError("https://hooks.example/secretPath")


# --- What is known before anything is read -----------------------------------------------------


def refusals(**checks: Any) -> list[str]:
    with pytest.raises(JobError) as caught:
        verify_checks(job(**checks))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.usefixtures("project")
def test_what_the_job_names_has_to_be_there() -> None:
    assert refusals(context="gxx", suite="nightly") == [
        "checks.context: no project of Great Expectations, there is no great_expectations.yml in "
        "the folder gxx"
    ]
    assert refusals(context=".", suite={"input": "a", "output": "b"}) == [
        "checks.context: no project of Great Expectations, there is no great_expectations.yml in "
        "the folder . (did you mean gx?)"
    ]
    assert refusals(suite={"input": "rwa", "output": "nightli"}) == [
        "checks.suite.input: the project has no suite rwa (did you mean raw?), only nightly, raw",
        "checks.suite.output: the project has no suite nightli (did you mean nightly?), only "
        "nightly, raw",
    ]
    assert refusals(checkpoint="nihgtly", suite="nightly") == [
        "checks.checkpoint.output: the project has no checkpoint nihgtly (did you mean nightly?), "
        "only all, nightly, raw"
    ]
    assert not Path("gxx").exists()  # where GX would make a project


def test_a_project_without_suites_is_refused_in_words(project: Path) -> None:
    shutil.rmtree(project / "expectations")
    [refusal] = refusals(suite="nightly")
    assert refusal.endswith("the project has no suite nightly, nor any other")


def test_a_checkpoint_without_suites_needs_one_beside_it(project: Path) -> None:
    change(project / "checkpoints/raw.json", validation_definitions=[])
    assert refusals(checkpoint="raw") == [
        "checks.checkpoint.output: the checkpoint has no validation definition; name a suite "
        "beside it"
    ]
    verify_checks(job(checkpoint="raw", suite="raw"))


def test_what_cannot_be_opened_is_refused_without_its_words(project: Path) -> None:
    change(project / "checkpoints/raw.json", actions=[{"type": "secretType", "name": "x"}])
    [refusal] = refusals(checkpoint="raw")
    assert "the checkpoint raw cannot be opened (ValidationActionRegistryRetrievalError)" in refusal
    unknown = {"type": "expect_secret", "kwargs": {}, "meta": {}, "severity": "info"}
    change(project / "expectations/raw.json", expectations=[unknown])
    [of_suite] = refusals(suite="raw")
    assert "of the suite raw Great Expectations leaves out expect_secret: it has no" in of_suite
    (project / "great_expectations.yml").write_text("secret: [")
    [of_project] = refusals(suite="raw")
    assert "the project gx cannot be opened (" in of_project
    assert "secret" not in refusal + of_project


@pytest.mark.parametrize(
    ("kind", "kwargs", "words"),
    [
        (
            "expect_column_values_to_be_between",
            {"column": "Temp", "min_value": {"$PARAMETER": "low"}},
            "min_value is a parameter of the suite, which a job cannot give",
        ),
        (
            "unexpected_rows_expectation",
            {"unexpected_rows_query": "SELECT * FROM {batch}"},
            "it works on tables in a database only, not on files",
        ),
        (
            "expect_imputed_distribution_to_match",
            {"column": "Ozone", "max_ks": 0.5},
            "nothing is imputed in the input yet",
        ),
    ],
)
def test_what_no_table_could_answer_is_refused(
    project: Path, kind: str, kwargs: dict[str, Any], words: str
) -> None:
    expectation = {"type": kind, "kwargs": kwargs, "meta": {}, "severity": "critical"}
    change(project / "expectations/raw.json", expectations=[expectation])
    [refusal] = refusals(suite={"input": "raw"})
    assert refusal.startswith(f"checks.suite.input: {kind}: ")
    assert words in refusal


def test_a_sample_does_not_answer_what_is_about_all_rows(project: Path) -> None:
    unique = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "Day"}, "meta": {}}
    change(project / "expectations/raw.json", expectations=[unique])
    with pytest.raises(JobError, match=r"only a sample of checks\.max_rows") as caught:
        check_rows(job(suite={"input": "raw"}, max_rows=100), 153)
    assert str(caught.value).startswith("checks.suite.input: expect_column_values_to_be_unique")


def test_a_confined_job_names_only_projects_of_the_operator(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes in a project may have code run, so a folder of jobs must not hold one."""
    monkeypatch.setenv(JOBS_ROOT, str(Path.cwd()))
    with pytest.raises(ValueError, match="EM_IMPUTE_CODE_ROOT lists"):
        job(suite="nightly")
    monkeypatch.setenv(CODE_ROOT, str(project.absolute()))
    assert job(suite="nightly").checks.context == project.absolute()
    monkeypatch.setenv(CODE_ROOT, "nowhere")
    with pytest.raises(ValueError, match="must list existing folders"):
        job(suite="nightly")


# --- What the suites find ----------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_expectations_of_a_suite_are_checks_as_the_jobs_own_are() -> None:
    asked = job(
        suite="nightly", output=[{"expect_column_to_exist": {"column": "Wind"}}], max_rows=10
    )
    own, theirs = output_checks(asked, ["Ozone", "Solar.R"])
    assert theirs
    filled = AIR.assign(em_impute_mask=0)
    checked = check_output(filled.head(10), own, (), rows=153, theirs=theirs)
    assert checked.not_done == ()
    assert [(each.expected, each.severity, each.observed) for each in checked.results] == [
        ("Wind exists", "critical", "passed"),
        ("table row count equal 153", "critical", "153 rows"),
        ("Ozone observed", "critical", "2 of 10 rows unexpected (20.0%)"),
        ("Temp at least 60.0", "warning", "2 of 10 rows unexpected (20.0%)"),
        ("Wind at least 0.0 where Month > 5", "info", "no row to judge"),
        (
            "imputed cells of Solar.R like observed ones (means within 3 sd)",
            "critical",
            "too few to judge, 0 imputed and 8 observed cells",
        ),
    ]
    assert checked.refusal == (
        "1 critical check failed on the output: Ozone observed (2 of 10 rows unexpected)."
    )
    assert checked.warnings == (
        "Not met on the output: Temp at least 60.0 (2 of 10 rows unexpected).",
    )


@pytest.mark.usefixtures("project")
def test_a_checkpoint_alone_brings_its_suites() -> None:
    theirs = take(job(checkpoint={"input": "all"}), "input")
    assert theirs
    assert [suite.of_project.name for suite in theirs.suites] == ["nightly", "raw"]
    assert take(job(checkpoint={"input": "all"}), "output") is None
    # A condition that a job's own checks may not have can name any column.
    assert columns_needed(theirs.checks, ["a", "Wind"]) == ["a", "Wind"]


def test_a_column_that_is_not_there_fails_as_it_does_in_gx(project: Path) -> None:
    absent = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "Ozon"}}
    change(project / "expectations/raw.json", expectations=[absent | {"meta": {}}])
    verify_checks(job(suite={"input": "raw"}))
    [found] = of_input(suite={"input": "raw"}).results
    assert not found.success
    assert found.observed == "could not be evaluated: no column Ozon in the table"


@pytest.mark.parametrize("kept", ["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"])
@pytest.mark.usefixtures("project")
def test_results_are_left_in_the_format_that_the_job_asks_for(kept: str, tmp_path: Path) -> None:
    asked = job(suite={"input": "nightly"}, results=kept)
    file = tmp_path / "left.json"
    theirs = take(asked, "input", file)
    checked = check_input(AIR, (), (), theirs=theirs)
    [suite] = json.loads(file.read_text())
    assert suite["suite_name"] == "nightly"
    assert suite["statistics"]["unsuccessful_expectations"] == 3
    temp = suite["results"][2]
    assert temp["expectation_config"]["severity"] == "warning"
    assert temp["expectation_config"]["id"]
    keys = {
        "BOOLEAN_ONLY": set(),
        "BASIC": {"partial_unexpected_list"},
        "SUMMARY": {"partial_unexpected_counts"},
        "COMPLETE": {"unexpected_list", "unexpected_index_list"},
    }
    assert keys[kept] <= temp["result"].keys()
    assert (kept == "COMPLETE") == ("unexpected_list" in temp["result"])
    # Ours say the same whichever it is, and no value.
    assert checked.results[2].observed == "8 of 153 rows unexpected (5.2%)"


# --- What the actions do -----------------------------------------------------------------------


def left_by_gx(project: Path, suite: str) -> dict[str, Any]:
    [file] = (project / "uncommitted/validations" / suite).rglob("*.json")
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def test_a_checkpoint_stores_writes_data_docs_and_tells_slack(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(project)
    with receiving() as slack:
        monkeypatch.setenv(HOOK, f"{slack.url}/secretPath")
        checked = of_input(checkpoint={"input": "nightly"})
    assert checked.not_done == ()
    assert checked.refusal
    [message] = slack.bodies
    assert b"alert - nightly - Failure" in message
    assert b"air-input" in message
    assert b"*2* of *5* Expectations were met" in message
    stored = left_by_gx(project, "nightly")
    assert "partial_unexpected_counts" in stored["results"][2]["result"]
    assert "unexpected_list" not in stored["results"][2]["result"]
    [page] = (project / "uncommitted/data_docs/local_site/validations").rglob("*.html")
    assert "values must never be null" in page.read_text()
    assert "imputed cells of Solar.R like observed ones" in page.read_text()
    assert "secretPath" not in page.read_text()
    # Neither our table nor anything else is added to the project itself.
    assert content(project) == before


@pytest.mark.parametrize("result_format", ["BOOLEAN_ONLY", {"result_format": "BOOLEAN_ONLY"}])
def test_the_checkpoints_format_is_its_own_whichever_the_job_keeps(
    project: Path, tmp_path: Path, result_format: object
) -> None:
    change(project / "checkpoints/raw.json", actions=[], result_format=result_format)
    file = tmp_path / "kept.json"
    theirs = take(job(checkpoint={"input": "raw"}, results="BASIC"), "input", file)
    checked = check_input(AIR, (), (), theirs=theirs)
    assert not checked.results[0].success
    assert left_by_gx(project, "raw")["results"][0]["result"] == {}
    [kept] = json.loads(file.read_text())
    assert kept["results"][0]["result"] == {"observed_value": 97}


def test_a_format_may_name_rows_by_a_key(project: Path) -> None:
    by_key = {"result_format": "COMPLETE", "unexpected_index_column_names": ["Month", "Day"]}
    change(project / "checkpoints/nightly.json", actions=[], result_format=by_key)
    theirs = take(job(checkpoint={"input": "nightly"}), "input")
    assert theirs
    assert theirs.reads_all
    assert check_input(AIR, (), (), theirs=theirs).not_done == ()
    rows = left_by_gx(project, "nightly")["results"][2]["result"]["unexpected_index_list"]
    assert rows[0] == {"Month": 5, "Day": 5, "Temp": 56}


def not_done(project: Path, *actions: dict[str, Any]) -> tuple[str, ...]:
    """The sentences on the actions; the verdict is as it is without them."""
    change(project / "checkpoints/raw.json", actions=list(actions))
    checked = of_input(checkpoint={"input": "raw"})
    assert checked.refusal == (
        "1 critical check failed on the input: Temp: max between 0.0 and 90.0 (failed)."
    )
    assert checked.warnings == checked.not_done
    return checked.not_done


def slack(url: str = f"${{{HOOK}}}", name: str = "alert") -> dict[str, Any]:
    return {"type": "slack", "name": name, "slack_webhook": url}


def failed(name: str, kind: str) -> str:
    return (
        f"The action {name} of the checkpoint raw failed on the input ({kind}); the verdict on the "
        "table does not depend on it."
    )


def test_an_action_that_fails_is_named_and_the_others_are_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whether it raises, or GX only logs it."""
    monkeypatch.setenv(HOOK, "http://127.0.0.1:9/secretPath")
    teams = {"type": "microsoft", "name": "teams", "teams_webhook": f"${{{HOOK}}}"}
    server = {"smtp_address": "127.0.0.1", "smtp_port": "9", "receiver_emails": "a@example.org"}
    with receiving() as receiver:
        sentences = not_done(
            project,
            {"type": "breaks", "name": "mine"},
            slack(),
            slack("${NOT_SET}", "unset"),
            teams,
            {"type": "email", "name": "mail", **server},
            {"type": "api", "name": "api", "url": "http://127.0.0.1:9/secretPath"},
            slack(receiver.url, "last"),
        )
    assert sentences[:2] == (failed("mine", "RuntimeError"), failed("alert", "not delivered"))
    assert [sentence.split()[2] for sentence in sentences] == [
        *("mine", "alert", "unset", "teams", "mail", "api"),
    ]
    assert len(receiver.bodies) == 1
    assert "secretPath" not in "".join(sentences) + "".join(capfd.readouterr())


def test_a_receiver_that_refuses_or_never_answers_holds_up_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(lambda _: 500) as receiver:
        assert not_done(project, slack(receiver.url)) == (failed("alert", "not delivered"),)
    monkeypatch.setattr(actions, "MOST_SECONDS", 0.5)
    with receiving(lambda _: NEVER) as receiver:
        assert not_done(project, slack(receiver.url)) == (
            failed("alert", "no end after 0.5 seconds"),
        )


def test_what_was_sent_or_not_asked_for_is_no_failure(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        quiet = [
            {**slack(receiver.url), "notify_on": "success"},
            {
                "type": "microsoft",
                "name": "teams",
                "teams_webhook": receiver.url,
                "notify_on": "success",
            },
        ]
        assert not_done(project, *quiet) == ()
        assert not_done(project, {**slack(receiver.url), "notify_on": "warning"}) == ()
        assert receiver.bodies == []
        assert not_done(project, {**slack(receiver.url), "notify_on": "critical"}) == ()
        assert len(receiver.bodies) == 1
        assert not_done(project, slack(receiver.url)) == ()


def test_results_that_cannot_be_stored_or_kept_are_a_warning(project: Path, tmp_path: Path) -> None:
    change(project / "checkpoints/raw.json", actions=[])
    file = tmp_path / "absent/kept.json"
    theirs = take(job(checkpoint={"input": "raw"}, results="BASIC"), "input", file)
    shutil.rmtree(project / "uncommitted/validations")
    (project / "uncommitted/validations").write_text("a file")
    folder = project.absolute()
    assert check_input(AIR, (), (), theirs=theirs).warnings == (
        "Great Expectations' own results of the input are not kept (FileNotFoundError).",
        f"The results of the input are not stored in the project {folder} (NotADirectoryError).",
    )
