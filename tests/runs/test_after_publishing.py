"""Once a table is published, nothing makes of it one that was not, whatever fails then."""

from __future__ import annotations

import errno
import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from conftest import WriteJob
from holed_tables import factor_table
from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State

from em_impute.cli import main as cli
from em_impute.flows.impute import STEPS, impute
from em_impute.flows.order import reported
from em_impute.job import Job, load_job
from em_impute.plugin import artifacts, tasks
from em_impute.reporting import (
    axes,
    brief,
    columns,
    distributions,
    drift,
    fit,
    formatting,
    glance,
    matrices,
    miniatures,
    missingness,
    pictures,
    plots,
    records,
    render,
    self_test_plots,
    style,
    svg,
    verdict,
)
from em_impute.reporting.columns import ImputedDigest
from em_impute.reporting.parts import Parts
from em_impute.reporting.records import Report
from em_impute.runs import (
    kept,
    manifest,
    measure,
    measure_cells,
    measure_columns,
    measure_drift,
    measure_missingness,
    steps,
    survey,
)
from em_impute.runs import report as ending
from em_impute.runs import run as findings
from em_impute.runs.history import past_run, rebuild_report
from em_impute.runs.manifest import Manifest, read_manifest
from em_impute.runs.measure import SECTIONS
from em_impute.runs.run import Found, Outcome, Run
from em_impute.runs.survey import FirstPass, Survey
from em_impute.tables import run_folder, whole_files
from em_impute.tables.digest import Digest
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.writing import single_file
from em_impute.tables.writing.staged import TargetError

pytestmark = pytest.mark.usefixtures("prefect_server")

# What an error may quote, and nothing that is left may.
CELL = "secret-cell-4711"


def fails(*_: object, **__: object) -> Any:
    raise KeyError(CELL)


# --- Whatever of the report fails ---------------------------------------------------------------


class Stage:
    """A run that has published, whose report can be made again and again."""

    def __init__(self, folder: Path) -> None:
        frame = pd.DataFrame(factor_table(900, 4, 0.2, seed=1)).rename(columns="x{}".format)
        frame["group"] = ["a", "b", "c"] * 300
        frame["level"] = pd.Series(["low", None, "high", "high", "low", "low"] * 150)
        frame.to_parquet(folder / "in.parquet")
        self.job = Job.model_validate(
            {
                "name": "staged",
                "source": {"path": str(folder / "in.parquet")},
                "target": {"path": str(folder / "out.parquet")},
                "columns": {"group_by": ["group"], "categories": {"level": "nominal"}},
                "keep_runs": {"count": 5},
                "self_test": {"method": "fill", "max_share": 1.0},
            }
        )
        self.events: list[str] = []
        self.artifacts: set[str] = set()
        self._runs, self._kept = folder / "runs", folder / "kept"

    def publish(self) -> None:
        """Run the job as far as the report."""
        run, found = tasks.open_run(self.job, self._runs), Found()
        found.snapshot = tasks.load(run)
        found.before = tasks.check_input(run, found.snapshot)
        found.fitted = tasks.fit(run, found.snapshot)
        found.staged = tasks.fill(run, found.snapshot, found.fitted)
        found.tested = tasks.self_test(run, found.snapshot, found.fitted)
        found.after = tasks.check_output(run, found.snapshot, found.fitted, found.staged)
        found.published = tasks.publish(run, found.staged)
        self.run, self.found = run, found

    def set(self) -> None:
        """Run the job twice, with another table the second time, so that there is drift."""
        flow(self.publish)()
        flow(lambda: tasks.report(self.run, self.found))()
        frame = pd.read_parquet(self.job.source.path)
        frame.assign(x1=frame["x1"] + 9).to_parquet(self.job.source.path)
        flow(self.publish)()
        shutil.copytree(self.run.folder.path, self._kept)

    def report(self) -> Outcome:
        """Report on the run, which is as it was when it had published."""
        shutil.rmtree(self.run.folder.path)
        shutil.copytree(self._kept, self.run.folder.path)
        self.events.clear()
        self.artifacts.clear()
        self.found.outcome = None
        # The task is what Prefect's engine calls, and it does not fail.
        steps = replace(STEPS, report=tasks.report.fn)
        return reported(self.run, self.found, steps, get_run_logger())

    def wrong(self, outcome: Outcome, excused: str = "") -> Iterator[str]:
        """What should not be so after a report of which something failed."""
        folder, left = self.run.folder, ""
        if (outcome.verdict.outcome, outcome.stopped) != ("published with warnings", None):
            yield f"the verdict is {outcome.verdict}"
        if outcome.published is not True:
            yield "it does not say that the table was published"
        for file in (folder.report, folder.numbers, folder.manifest, folder.checks):
            if file.exists():
                left += file.read_text()
            elif file.name not in excused:
                yield f"there is no {file.name}"
        if "working files" not in excused and folder.snapshot.exists():
            yield "its snapshot is left"
        if CELL in left + outcome.verdict.sentence:
            yield "a cell is told"
        expected = {f"staged-{name}" for name in artifacts.ARTIFACTS if name not in excused}
        if not excused.startswith("artifact") and not expected <= self.artifacts:
            yield f"there is no {expected - self.artifacts}"
        if not excused.startswith("event") and "em-impute.published" not in self.events:
            yield "no event"
        if folder.numbers.exists():
            past = past_run(folder.path)
            if past.brief is None:
                yield f"its history is {past.trouble}"
            rebuild_report(folder.path)

    def unnamed(self, part: str) -> Iterator[str]:
        """Where a part that failed is not named."""
        folder = self.run.folder
        if folder.report.exists() and part not in unescape(folder.report.read_text()):
            yield "it is not named on the page"
        if folder.numbers.exists():
            told = Report.from_dict(json.loads(folder.numbers.read_text()))
            if part not in {failure.part for failure in told.failures}:
                yield "it is not in report.json"
            if not any(part in warning for warning in told.warnings) and part != "verdict":
                yield "no warning names it"


@pytest.fixture(scope="module")
def stage(prefect_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The run; what it makes in Prefect is only taken down, which is faster."""
    made = Stage(tmp_path_factory.mktemp("staged"))

    def event(name: str, *_: object, **__: object) -> None:
        made.events.append(name)

    def artifact(*_: object, key: str, **__: object) -> None:
        made.artifacts.add(key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EM_IMPUTE_RUNS_URL", "http://reports.example.org/runs")
        patch.setattr(artifacts, "emit_event", event)
        for kind in ("markdown", "table", "link"):
            patch.setattr(artifacts, f"create_{kind}_artifact", artifact)
        patch.setattr("em_impute.reporting.parts.PAUSES", (0.0,))
        patch.setattr(ending, "PAUSES", (0.0,))
        made.set()
        yield made


def parts_of(stage: Stage) -> list[str]:
    """Every part that such a run makes, in the words of the code that makes it."""
    made: dict[str, None] = {}
    real = Parts.make

    def noted(self: Parts, part: str, *arguments: Any, **named: Any) -> Any:
        made[part] = None
        return real(self, part, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "make", noted)
        outcome = stage.report()
    assert not Report.from_dict(json.loads(stage.run.folder.numbers.read_text())).failures
    assert outcome.stopped is None
    return list(made)


def in_one_flow(look: Callable[[], dict[str, list[str]]]) -> dict[str, list[str]]:
    """What was wrong, where something was."""
    looked: dict[str, list[str]] = {}

    @flow
    def once() -> None:
        looked.update(look())

    once()
    return {what: wrong for what, wrong in looked.items() if wrong}


@pytest.mark.timeout(600)
def test_each_part_of_what_a_run_leaves_fails_by_itself(stage: Stage) -> None:
    """Each section, picture, file, artifact and event in turn, as the code names them."""

    def look() -> dict[str, list[str]]:
        parts, looked = parts_of(stage), {}
        for field in SECTIONS:
            assert f"section {field.replace('_', ' ')}" in parts
        for kind in ("picture column0", "artifact's picture pits", "page's section the run"):
            assert kind in parts, parts
        for name in artifacts.ARTIFACTS:
            assert f"artifact {name}" in parts
        for event in ("published", "drifted"):
            assert f"event {event}" in parts
        for part in parts:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Parts, "make", failing(part))
                outcome = stage.report()
            looked[part] = list(stage.wrong(outcome, excused=EXCUSED.get(part, part)))
            looked[part] += stage.unnamed(part)
        return looked

    wrong = in_one_flow(look)
    assert not wrong, json.dumps(wrong, indent=1)


# Parts without which there is not what goes by another name.
EXCUSED = {
    "manifest": "manifest.json",
    "address of the page": "page",
    "artifacts": "artifact",
    "section checks": "artifact checks",
    "names of the columns": "",
}


def failing(part: str) -> Callable[..., Any]:
    """The method that makes parts, with a fault in one of them."""
    real = Parts.make

    def make(self: Parts, name: str, function: Any, *more: Any, **named: Any) -> Any:
        return real(self, name, fails if name == part else function, *more, **named)

    return make


MODULES = (
    measure,
    survey,
    measure_cells,
    measure_columns,
    measure_drift,
    measure_missingness,
    records,
    verdict,
    columns,
    fit,
    distributions,
    missingness,
    matrices,
    drift,
    brief,
    glance,
    miniatures,
    render,
    formatting,
    pictures,
    plots,
    self_test_plots,
    axes,
    style,
    svg,
    artifacts,
    run_folder,
    whole_files,
    manifest,
    kept,
)
CLASSES = (Report, Digest, ImputedDigest, RunFolder, Manifest, Found, Survey, FirstPass)


def functions() -> dict[str, tuple[list[tuple[object, str]], Any]]:
    """Each function and property of the report's modules: its places, and what stands there now."""
    found: dict[str, tuple[list[tuple[object, str]], Any]] = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                places = [(m, n) for m in everywhere() for n, v in vars(m).items() if v is value]
                found[name] = (places, fails)
    for cls in CLASSES:
        for name, value in vars(cls).items():
            if isinstance(value, property) and cls is not RunFolder:  # whose are mere names
                found[f"{cls.__name__}.{name}"] = ([(cls, name)], property(fails))
            elif inspect.isfunction(value) and not name.startswith("__"):
                found[f"{cls.__name__}.{name}"] = ([(cls, name)], fails)
    del found["Found.stopped"]  # which says itself what is looked at
    return found


def everywhere() -> tuple[ModuleType, ...]:
    return (*MODULES, findings, steps, ending, tasks)


@pytest.mark.timeout(900)
def test_each_function_of_the_report_fails_and_the_verdict_stands(stage: Stage) -> None:
    def look() -> dict[str, list[str]]:
        looked = {}
        for name, (places, broken) in functions().items():
            with pytest.MonkeyPatch.context() as patch:
                for place, attribute in places:
                    patch.setattr(place, attribute, broken)
                for environment in (render.PAGES, render._ARTIFACTS):
                    for known, value in environment.filters.items():
                        if getattr(value, "__name__", "") == name:
                            patch.setitem(environment.filters, known, fails)
                outcome = stage.report()
            turned = outcome.published is not True or outcome.stopped is not None
            looked[name] = [str(outcome)] if turned else []
        return looked

    wrong = in_one_flow(look)
    assert not wrong, json.dumps(wrong, indent=1)


# --- Whatever of publishing fails ---------------------------------------------------------------


ROWS = (
    pd.DataFrame(factor_table(60, 2, 0.2, seed=3)).rename(columns="x{}".format).to_csv(index=False)
)


def run_as_json() -> tuple[Result, dict[str, Any]]:
    """Run job.yaml; stdout has one object and nothing else."""
    result = CliRunner().invoke(cli.main, ["run", "--json", "job.yaml"])
    said = json.loads(result.stdout)
    assert result.stdout == json.dumps(said) + "\n"
    assert result.exit_code == said["exit_code"]
    return result, said


def raising(error: BaseException, when: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that does its work and fails then, or fails before."""

    def function(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            real(*arguments, **named)
        raise error

    return function


FAULTS = {
    "a fault of the program": KeyError(CELL),
    "a share that is gone": OSError(errno.EIO, "Input/output error"),
    "a file that may not be removed": TargetError("It cannot be written."),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_said_of_the_target_is_true_when_publishing_fails(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch, fault: str, when: str
) -> None:
    """It fails just before the table is put in its place, or just after."""
    write_job(ROWS)
    Path("out").mkdir()
    Path("out/filled.csv").write_text("old\n")
    monkeypatch.setattr(tasks.publish, "retry_delay_seconds", [0, 0, 0])
    monkeypatch.setattr(
        single_file, "take_place", raising(FAULTS[fault], when, single_file.take_place)
    )
    if when == "after":  # what has been published once is not published again
        monkeypatch.setattr(tasks.publish, "retries", 0)
    result, said = run_as_json()
    published = "old" not in Path("out/filled.csv").read_text()
    assert said["published"] is published is (when == "after")
    assert CELL not in result.stdout
    [folder] = Path("runs/test").iterdir()
    numbers = Report.from_dict(json.loads((folder / "report.json").read_text()))
    recorded = read_manifest(RunFolder(folder))
    assert (recorded["target"] is not None) is published
    assert not list(folder.glob("snapshot.*"))
    if published:
        assert said["outcome"] == "published with warnings"
        assert said["exit_code"] == 0
        assert type(FAULTS[fault]).__name__ in " ".join(numbers.warnings)
    else:
        assert said["exit_code"] == {"TargetError": 2}.get(type(FAULTS[fault]).__name__, 3)
        assert "was not changed" in said["verdict"]


def test_a_target_that_cannot_be_asked_is_not_said_to_be_as_it_was(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job(ROWS)
    monkeypatch.setattr(
        single_file, "take_place", raising(KeyError(CELL), "after", single_file.take_place)
    )
    monkeypatch.setattr(findings, "find_published", fails)
    result, said = run_as_json()
    assert said["published"] is None
    assert "It is not known whether" in said["verdict"]
    assert "was not changed" not in said["verdict"]
    assert result.exit_code == 3
    assert CELL not in result.stdout


@pytest.mark.parametrize("moment", ["publishing", "the numbers", "the artifacts"])
def test_an_interruption_after_publishing_does_not_hide_that_it_was(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write_job(ROWS)
    place, name = {
        "publishing": (single_file, "take_place"),
        "the numbers": (ending, "report_numbers"),
        "the artifacts": (artifacts, "leave_report"),
    }[moment]
    real, interrupted = getattr(place, name), []

    def interrupt(*arguments: Any, **named: Any) -> Any:
        done = real(*arguments, **named)
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(place, name, interrupt)
    result, said = run_as_json()
    assert result.exit_code == 130
    assert said["published"] is True
    assert said["outcome"].startswith("published")
    assert "interrupted; the table had been published to out/filled.csv before." in result.stderr
    [folder] = Path("runs/test").iterdir()
    assert read_manifest(RunFolder(folder))["target"] is not None
    assert past_run(folder).brief is not None


def test_a_server_that_is_gone_when_the_run_ends_does_not_hide_what_was_published(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SyncPrefectClient.set_flow_run_state

    def unreachable(self: Any, flow_run_id: Any, state: State[Any], **named: Any) -> Any:
        if state.is_final():
            raise httpx.ConnectError("All connection attempts failed")
        return real(self, flow_run_id, state, **named)

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", unreachable)
    write_job(ROWS)
    result, said = run_as_json()
    assert (said["published"], said["outcome"], said["exit_code"]) == (True, "published", 0)
    assert "Prefect failed when the run had ended (ConnectError)" in result.stderr


@pytest.mark.parametrize("hook", [tasks.report_cancelled, tasks.report_lost])
def test_a_run_that_was_lost_after_publishing_is_not_said_to_have_published_nothing(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch, hook: Any
) -> None:
    """Its process is gone before it could report; Prefect calls the hook in another one."""
    job = load_job(write_job(ROWS))
    made: list[Run] = []

    @flow
    def gone() -> None:
        run = tasks.open_run(job)
        snapshot = tasks.load(run)
        tasks.publish(run, tasks.fill(run, snapshot, tasks.fit(run, snapshot)))
        made.append(run)

    gone()
    [run] = made
    monkeypatch.setattr(tasks, "_run_of", lambda _: run)
    hook(impute, SimpleNamespace(deployment_id=uuid4()), None)
    brief = past_run(run.folder.path).brief
    assert brief is not None
    assert (brief.published, brief.outcome) == (True, "published with warnings")
    assert "missing cells were filled" in brief.verdict
    assert read_manifest(run.folder)["target"]["rows"] == 60
