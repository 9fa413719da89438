"""The wheel, as someone gets it who has never seen the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement
from servers import PrefectServer

ROOT = Path(__file__).parents[1]

JOB = """\
name: heights
source: {path: heights.csv}
target: {path: filled/heights.parquet}
"""
TABLE = """\
name,height,weight
Ada,170,62
Bo,,81
Cy,165,
Di,180,77
Ed,158,51
Flo,190,88
Gil,175,70
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, copy_of_sources(folder))
    [built] = folder.glob("*.whl")
    return built


def copy_of_sources(folder: Path) -> Path:
    """Only what git has or would have: a build in the checkout reuses and leaves build/ there."""
    sources = folder / "sources"
    for name in ("em_impute", "flows"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    return sources


def run(
    *command: str | Path, cwd: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a program with the caller's environment, without its Python path and Prefect."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("PREFECT_", "PYTHON", "VIRTUAL_ENV"))
    }
    answer = subprocess.run(
        command,
        cwd=cwd,
        env=kept | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


def new_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with nothing but the wheel and what it depends on.

    The latter is linked from this environment, where its byte code is.
    """
    venv.create(folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    [installed] = packages.glob("*.dist-info")
    for needed in map(distribution, dependencies(Distribution.at(installed))):
        for top in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(needed.locate_file(top))
    return folder / "bin"


def dependencies(of: Distribution) -> set[str]:
    """What a distribution requires, and what that requires in turn."""
    found: set[tuple[str, str]] = set()

    def add(one: Distribution, extra: str) -> None:
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                for wanted in {"", *requirement.extras}:
                    if (requirement.name, wanted) not in found:
                        found.add((requirement.name, wanted))
                        add(distribution(requirement.name), wanted)

    add(of, "")
    return {name for name, _ in found}


def test_wheel_has_one_top_level_package_and_all_its_parts(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"em_impute"}
    sources = {
        "em_impute/" + path.relative_to(folder).as_posix()
        for folder, prefix in ((ROOT / "em_impute", ""), (ROOT, "flows/"))
        for path in folder.glob(f"{prefix}**/*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {"em_impute/py.typed", "em_impute/flows/impute.py"} <= sources
    assert sources <= set(names)


def test_what_the_wheel_says_of_itself_can_be_shown(wheel: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", wheel)


def test_job_runs_from_the_wheel_in_an_empty_folder(
    prefect_server: PrefectServer, wheel: Path, tmp_path: Path
) -> None:
    scripts = new_environment(tmp_path / "venv", wheel)
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "job.yaml").write_text(JOB, encoding="utf-8")
    (folder / "heights.csv").write_text(TABLE, encoding="utf-8")

    own = {"PREFECT_API_URL": f"{prefect_server.url}/api", "PREFECT_HOME": str(tmp_path)}
    run(scripts / "em-impute", "run", "job.yaml", cwd=folder, **own)

    filled = pq.read_table(folder / "filled" / "heights.parquet")
    assert filled.column_names == ["name", "height", "weight"]
    assert filled.num_rows == 7
    assert [filled[name].null_count for name in filled.column_names] == [0, 0, 0]
