"""The image that docker-compose.yml runs: its Dockerfile linted, and its environment tried out.

No image is built, which would need a Docker daemon.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import EM_IMPUTE, ROOT
from servers import PrefectServer

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
HADOLINT = Path(sysconfig.get_path("scripts"), "hadolint")


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [HADOLINT, "--no-color", "--failure-threshold", "style", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def environment() -> dict[str, str]:
    """What the image sets."""
    (settings,) = re.findall(r"^ENV (.*?[^\\])\n", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"(\w+)=(\S+)", settings))


def test_hadolint_finds_nothing() -> None:
    answer = hadolint(ROOT / "Dockerfile")
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def test_hadolint_finds_what_is_bad(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install em-impute\n")
    answer = hadolint(bad)
    assert answer.returncode == 1
    assert "DL3006" in answer.stdout  # no tag


def test_dependencies_are_a_layer_before_the_sources() -> None:
    """They are those of pyproject.toml, and what comes after them installs no other."""
    build = DOCKERFILE.partition("COPY --from=build")[0]
    steps = ["COPY pyproject.toml .", "--requirement requirements.txt", "COPY . .", "--no-deps ."]
    at = [build.index(step) for step in steps]
    assert at == sorted(at)
    [program] = re.findall(r"^RUN python -c '(.*)' >requirements.txt$", build, re.MULTILINE)
    listed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = {re.split("[^a-z-]", line)[0] for line in listed.stdout.splitlines()}
    assert {
        "numpy",
        "prefect",
        "adbc-driver-postgresql",
        "duckdb",
        "distributed",
        "prefect-redis",
        "openlineage-python",
    } <= names
    assert "pytest" not in names


def test_user_has_no_rights() -> None:
    """By number, so that an orchestrator can tell that it is not root."""
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["1000:1000"]
    assert "chmod a-s" in DOCKERFILE


@pytest.mark.xdist_group("prefect")
def test_root_may_be_read_only(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """What the image names for caches and files is used; its /tmp is a folder here."""
    temporary, work = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    shutil.copytree(ROOT / "data", work / "data")
    shutil.copytree(ROOT / "configs", work / "configs")
    settings = {
        name: value.replace("/tmp", str(temporary)) for name, value in environment().items()
    }
    result = subprocess.run(
        [EM_IMPUTE, "run", "configs/quickstart.yaml"],
        cwd=work,
        env={
            **settings,
            "HOME": "/nonexistent",
            "EM_IMPUTE_ROOT": str(work),
            "PREFECT_API_URL": f"{prefect_server.url}/api",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    written = {path.relative_to(temporary).parts[0] for path in temporary.rglob("*.*")}
    assert {"numba"} <= written <= {"numba", "prefect"}
    assert {path.name for path in work.iterdir()} == {"configs", "data", "out", "runs"}
