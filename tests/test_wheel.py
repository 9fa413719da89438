"""The wheel, as someone gets it who has never seen the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))

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

# The time is that of installing dependencies, minutes without uv; one build serves both tests.
pytestmark = pytest.mark.timeout(900)


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


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        command,
        cwd=cwd,
        env=environment(cwd),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


def environment(home: Path | None) -> dict[str, str]:
    """The caller's, without its Python path and Prefect; Prefect's home is in `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("PREFECT_", "PYTHON", "VIRTUAL_ENV"))
    }
    own = {} if home is None else {"PREFECT_HOME": str(home / ".prefect")}
    return {**kept, **own, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def new_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with nothing but the wheel and what it depends on."""
    python = folder / "bin" / "python"
    if uv := shutil.which("uv", path=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"):
        run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        run(uv, "pip", "install", "--quiet", "--python", python, wheel)
    else:
        run(sys.executable, "-m", "venv", folder)
        run(python, "-m", "pip", "install", "--quiet", wheel)
    return folder / "bin"


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


def test_job_runs_from_the_wheel_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    scripts = new_environment(tmp_path / "venv", wheel)
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "job.yaml").write_text(JOB, encoding="utf-8")
    (folder / "heights.csv").write_text(TABLE, encoding="utf-8")

    run(scripts / "em-impute", "run", "job.yaml", cwd=folder)

    filled = pq.read_table(folder / "filled" / "heights.parquet")
    assert filled.column_names == ["name", "height", "weight"]
    assert filled.num_rows == 7
    assert [filled[name].null_count for name in filled.column_names] == [0, 0, 0]
