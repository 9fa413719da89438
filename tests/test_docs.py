"""The documents: their examples run, and they name what exists."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import json
import re
import runpy
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import ROOT
from openlineage.client import OpenLineageClient
from receivers import receiving
from ruamel.yaml import YAML

from em_impute import batches, estimator, factor, job_file, mixture, multiple
from em_impute.cli import main as cli
from em_impute.gaussian import (
    GaussianModel,
    PatternSummary,
    aleksic,
    fit,
    fit_gaussian,
    little,
    patterns,
)
from em_impute.job import load_job
from em_impute.runs.history import run_without_folder
from em_impute.runs.run import Refused

README = (ROOT / "README.md").read_text()
REPORT = (ROOT / "docs" / "report.md").read_text()
WATCH = (ROOT / "docs" / "watch.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_python_examples_of_the_readme_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, object] = {}
    code = "\n".join(blocks(README, "python"))
    exec(code, namespace)
    assert not namespace["filled"].isna().any(axis=None)  # type: ignore[attr-defined]
    said = re.findall(r"print\(.*\)\s+# (.*)", code)
    assert capsys.readouterr().out.splitlines() == said


def test_the_example_of_the_expectations_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    [code] = blocks((ROOT / "docs" / "expectations.md").read_text(), "python")
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)\s+# (.*)", code)


def test_the_example_of_a_gx_project_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = runpy.run_path(str(ROOT / "docs" / "data_docs.py"))
    with receiving() as slack:
        monkeypatch.setenv("SLACK_WEBHOOK", slack.url)
        page = picture["example"](tmp_path).read_text()
    assert "4 unexpected values found" in page
    assert "KS distance 0.28, mean -0.032 sd, 37 imputed and 116 observed cells" in page
    assert len(slack.bodies) == 1
    verdict = json.loads(next(tmp_path.rglob("report.json")).read_text())["verdict"]
    assert verdict["outcome"] == "published with warnings"


def test_job_examples_of_the_readme_load(tmp_path: Path) -> None:
    for i, block in enumerate(blocks(README, "yaml")):
        path = tmp_path / f"{i}.yaml"
        path.write_text(block)
        assert load_job(path).name == "airquality"


def test_job_examples_of_the_self_test_page_load(tmp_path: Path) -> None:
    examples = blocks((ROOT / "docs" / "self-test.md").read_text(), "yaml")
    assert examples
    for i, block in enumerate(examples):
        path = tmp_path / f"{i}.yaml"
        path.write_text(f"name: a\nsource: {{path: a.csv}}\ntarget: {{path: b.csv}}\n{block}")
        assert load_job(path).self_test.has_limits


def test_the_readme_says_what_it_is_in_its_first_20_lines() -> None:
    head = "\n".join(README.splitlines()[:20])
    for part in ("make demo", "make test", "docs/report.png", "from em_impute import EMImputer"):
        assert part in head


@pytest.fixture
def at_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of the test's own, with what a checkout has for jobs."""
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "data"):
        (tmp_path / folder).symlink_to(ROOT / folder)


def module_of(code: str) -> dict[str, Any]:
    """What code defines, as a module that is imported."""
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(code, namespace)
    return namespace


@pytest.mark.usefixtures("prefect_server", "at_the_jobs")
def test_the_flow_of_ones_own_runs() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text()
    [code] = blocks(text, "python")
    nightly, job = module_of(code)["nightly"], Path("configs/quickstart.yaml")
    with pytest.raises(Refused, match="37 of 153 cells of Ozone would be imputed"):
        nightly(job, share=0.8)
    assert not Path("out/airquality.parquet").exists()
    [said] = re.findall(r"It prints `(.*?)\.\.\.`", text)
    assert nightly(job).startswith(said.rstrip())
    assert Path("out/airquality.parquet").exists()
    for folder in Path("runs/airquality").iterdir():
        assert not {"snapshot.arrow", "staged.parquet"} & {file.name for file in folder.iterdir()}
        assert (folder / "report.html").exists()


@pytest.mark.usefixtures("prefect_server", "at_the_jobs")
def test_the_examples_of_the_blocks_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "blocks.md").read_text()
    for code in blocks(text, "python"):
        module_of(code)
    assert "44 missing cells were filled" in capsys.readouterr().out
    [job] = blocks(text, "yaml")
    (tmp_path / "job.yaml").write_text(job)
    assert load_job(tmp_path / "job.yaml").name == "orders"


def test_commands_and_files_that_the_readme_names_exist() -> None:
    for command in re.findall(r"^em-impute (\w+)", README, re.MULTILINE):
        assert command in cli.main.commands
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", ["method.md", "security.md"])
def test_tests_that_a_page_names_exist(page: str) -> None:
    named = re.findall(r"`(tests/\S+?\.py)::(\w+)`", (ROOT / "docs" / page).read_text())
    assert named
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_the_example_of_the_page_on_the_report_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "airquality" / "run").mkdir(parents=True)
    old = ROOT / "tests" / "reporting" / "report_of_0.1.0.json"
    (tmp_path / "runs" / "airquality" / "run" / "report.json").write_text(old.read_text())
    monkeypatch.chdir(tmp_path)
    [code] = blocks(REPORT, "python")
    exec(code, {})
    assert capsys.readouterr().out == "published None 44\n"


@pytest.mark.usefixtures("prefect_server")
def test_the_examples_of_the_page_on_uncertainty_print_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    job = str(ROOT / "configs" / "uncertainty.yaml")
    result = CliRunner().invoke(cli.main, ["run", job])
    assert result.exit_code == 0, result.output
    capsys.readouterr()
    code = "\n".join(blocks((ROOT / "docs" / "uncertainty.md").read_text(), "python"))
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    said = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert [line for line in printed if "chains" not in line] == said


@pytest.mark.parametrize("page", ["mixture.md", "segmentation.md", "factor.md"])
def test_the_examples_of_the_pages_on_families_print_what_they_say(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    [code] = blocks((ROOT / "docs" / page).read_text(), "python")
    exec(code, {})
    said = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize(
    ("page", "config"), [("mixture.md", "clusters.yaml"), ("factor.md", "factors.yaml")]
)
def test_the_jobs_of_the_pages_on_families_are_those_in_configs(
    page: str, config: str, tmp_path: Path
) -> None:
    [job] = blocks((ROOT / "docs" / page).read_text(), "yaml")
    (tmp_path / "job.yaml").write_text(job)
    assert load_job(tmp_path / "job.yaml") == load_job(ROOT / "configs" / config)


def test_the_picture_of_old_faithful_ends_at_the_fit() -> None:
    picture = runpy.run_path(str(ROOT / "docs" / "old_faithful.py"))
    holed = picture["deleted"]()
    last, fit = picture["after"](picture["FRAMES"] - 1, holed), mixture.EMMixture(2).fit(holed)
    assert last.loglik_ == pytest.approx(fit.loglik_, abs=0.01)
    np.testing.assert_allclose(last.means_, fit.means_, rtol=0.01)
    edge = picture["ellipse"](last.means_[0], last.covariances_[0]) - last.means_[0]
    distances = np.einsum("ij,ij->i", edge @ np.linalg.inv(last.covariances_[0]), edge)
    np.testing.assert_allclose(1 - np.exp(-distances / 2), picture["INSIDE"])


def test_each_option_of_the_imputer_has_an_example_that_is_run() -> None:
    pages = [
        README,
        *((ROOT / "docs" / f"{page}.md").read_text() for page in ("columns", "gallery")),
    ]
    code = "\n".join(block for page in pages for block in blocks(page, "python"))
    used = {
        keyword.arg
        for call in ast.walk(ast.parse(code))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "EMImputer"
        for keyword in call.keywords
    }
    assert used >= inspect.signature(estimator.EMImputer).parameters.keys()


def test_the_comparison_is_of_the_imputers_and_tables_of_its_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    comparison = importlib.import_module("benchmarks.comparison")
    page = (ROOT / "docs" / "comparison.md").read_text()
    quick = ["mean", "KNN", "EMImputer", "EMImputer, transforms of init"]
    head = comparison.in_markdown({}, {}, []).splitlines()[0]
    assert head in page
    assert all(f"\n| {name} (" in page for name in comparison.TABLES)
    monkeypatch.setattr(comparison, "IMPUTERS", {n: comparison.IMPUTERS[n] for n in quick})
    errors = [error for error, _ in comparison.compare(comparison.TABLES["swiss"](), 0)]
    assert 1.0 < errors[0] < 1.3
    assert errors[2] < errors[1] < errors[0]
    assert errors[3] < errors[0]
    assert "| mean | 1 | 0 | 0 |" in comparison.outcomes({"swiss": errors})


def test_the_pictures_of_the_gallery_are_drawn(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs" / "gallery.py"))["main"](tmp_path)
    shown = re.findall(r"\]\((.*?\.png)\)", (ROOT / "docs" / "gallery.md").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(shown)


@pytest.mark.usefixtures("at_the_jobs")
def test_the_picture_of_the_lineage_is_drawn_from_events(tmp_path: Path) -> None:
    picture = runpy.run_path(str(ROOT / "docs" / "lineage.py"))
    start, complete = picture["emitted"]()
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    ways = {(source, target): way for source, target, way in picture["edges"](complete)}
    assert (ways["Ozone", "Ozone"], ways["Wind", "Ozone"]) == ("DIRECT", "INDIRECT")
    assert ("Month", "Ozone") not in ways
    picture["draw"](complete, tmp_path / "lineage.png")
    assert (tmp_path / "lineage.png").stat().st_size > 10_000


def test_the_settings_of_the_page_on_lineage_are_openlineages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "lineage.md").read_text()
    kinds = []
    for block in blocks(page, "yaml"):
        (tmp_path / "lineage.yml").write_text(block)
        monkeypatch.setenv("OPENLINEAGE_CONFIG", str(tmp_path / "lineage.yml"))
        kinds.append(OpenLineageClient().transport.kind)
    assert kinds == ["file", "http"]


@pytest.mark.usefixtures("at_the_jobs")
def test_the_questions_of_the_page_on_the_history_table_have_answers(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "history-table.md").read_text()
    (tmp_path / "job.yaml").write_text(blocks(page, "yaml")[0])
    job = Path("configs") / "history.yaml"
    assert load_job(tmp_path / "job.yaml") == load_job(job)
    for day in ("2026-05-01", "2026-05-02"):
        done = CliRunner().invoke(cli.main, ["run", "--direct", "--date", day, str(job)])
        assert done.exit_code == 0, done.output
    with sqlite3.connect("out/history.db") as connection:
        answers = [connection.execute(sql).fetchall() for sql in blocks(page, "sql")]
    missing, scores, unpublished, moved = answers
    assert missing == [
        (day, name, percent)
        for day in ("2026-05-01", "2026-05-02")
        for name, percent in (("Ozone", 24.183), ("Solar.R", 4.5752))
    ]
    assert [row[1] for row in scores] == ["Ozone", "Solar.R"] * 2
    assert unpublished == moved == []


@pytest.mark.usefixtures("prefect_server", "at_the_jobs")
def test_the_months_of_the_page_on_the_state_are_fitted_as_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And the last model is that of all months at once, each with its weight."""
    text = (ROOT / "docs" / "state.md").read_text()
    [command], [job] = blocks(text, "sh"), blocks(text, "yaml")
    Path("job.yaml").write_text(job)
    assert load_job(Path("job.yaml")) == load_job(Path("configs") / "state.yaml")
    result = CliRunner().invoke(cli.main, command.split()[1:])
    assert result.exit_code == 0, result.output
    capsys.readouterr()
    [code] = blocks(text, "python")
    exec(code, {})
    said = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == said
    columns, ages = ["Ozone", "Solar.R", "Wind", "Temp"], {5: 61, 6: 30, 7: 0}
    months = pd.read_csv("data/airquality.csv").groupby("Month")
    rows = [
        PatternSummary.from_array(month[columns]).weighted(0.5 ** (ages[k] / 365))
        for k, month in months
        if k in ages
    ]
    expected = fit_gaussian(PatternSummary.together(rows), tol=1e-8).model
    model = GaussianModel.load("state/airquality_monthly/model.json")
    np.testing.assert_allclose(model.mean, expected.mean, atol=1e-4)
    np.testing.assert_allclose(model.covariance, expected.covariance, rtol=1e-4)


def test_every_part_of_the_report_is_explained() -> None:
    template = ROOT / "em_impute" / "reporting" / "templates" / "report.html.j2"
    headings = re.findall(r"<h[23]>(.*?)</h[23]>", template.read_text())
    assert len(headings) > 10
    assert [heading for heading in headings if heading.lower() not in REPORT.lower()] == []


def test_the_keys_of_a_run_as_json_are_explained() -> None:
    table = WATCH[WATCH.index("The object has") : WATCH.index("Fields a run never reached")]
    explained = {
        key
        for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for key in re.findall(r"`(\w+)`", line)
    }
    assert explained == run_without_folder("").to_dict().keys() | {"stopped_by", "exit_code"}


def test_options_of_run_are_explained() -> None:
    options = {name for option in cli.run.params for name in option.opts if name[0] == "-"}
    assert options == set(re.findall(r"`(--?\w+)", WATCH[: WATCH.index("### Past runs")]))


def test_the_automation_that_is_explained_is_the_one_in_the_file() -> None:
    [explained] = [yaml for yaml in blocks(WATCH, "yaml") if "trigger:" in yaml]
    kept = YAML(typ="safe").load(ROOT / "docs" / "automations.yaml")["automations"]
    assert YAML(typ="safe").load(explained) == kept[0]


def test_every_job_in_configs_is_run_by_a_test() -> None:
    tests = (ROOT / "tests" / "cli" / "test_configs.py").read_text() + Path(__file__).read_text()
    for config in (ROOT / "configs").glob("*.yaml"):
        assert f'"{config.name}"' in tests


@pytest.mark.parametrize(
    "module",
    [aleksic, batches, estimator, factor, fit, job_file, little, mixture, multiple, patterns],
    ids=lambda m: m.__name__,
)
def test_examples_in_docstrings_run(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failures, tried = doctest.testmod(module)
    assert tried
    assert not failures
