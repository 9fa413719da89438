"""A receiver that is down, refuses or is slow is a warning, and holds up a run by its timeout."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from command_line import GOOD, em_impute, run_directly
from conftest import WriteJob, write_yaml
from receivers import NEVER, receiving

from em_impute.runs import lineage
from em_impute.runs.lineage import sending

SENTENCE = "The lineage of the run could not be sent by OpenLineage"


def transport(url: str, **more: Any) -> None:
    """Set OpenLineage up by a file, as it documents."""
    kept = {"type": "http", "url": url, "timeout": 0.3} | more
    write_yaml(Path("openlineage.yml"), {"transport": kept})


def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "more", "why"),
    [
        (None, {"retry": {"total": 0}}, "ConnectionError"),
        (500, {"retry": {"total": 0, "status_forcelist": []}}, "HTTPError, status 500"),
        (500, {}, "nobody took it within 0.3 s"),
        (401, {}, "HTTPError, status 401"),
        (NEVER, {}, "nobody took it within 0.3 s"),
    ],
    ids=["closed", "500", "500 again and again", "401", "never"],
)
def test_a_receiver_that_fails_stops_no_run(
    answer: int | None, more: dict[str, Any], why: str, write_job: WriteJob
) -> None:
    path = write_job(GOOD)
    with ExitStack() as stack:
        url = closed() if answer is None else stack.enter_context(receiving(lambda _: answer)).url
        transport(url, **more)
        done = run_directly(path, "--json")
    assert done.exit_code == 0, done.output
    ended = json.loads(done.stdout)
    assert (ended["outcome"], ended["published"]) == ("published with warnings", True)
    manifest = json.loads((Path(ended["folder"]) / "manifest.json").read_text())
    for text in (ended["verdict"], manifest["verdict"], (Path(ended["report"])).read_text()):
        assert f"{SENTENCE}: {why}." in text
    assert done.stderr.count(SENTENCE) == 2  # of the start, and of the end
    assert url not in done.stderr


def test_it_is_waited_for_as_long_as_its_timeout(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a transport would try again."""
    waited: list[float | None] = []
    join = threading.Thread.join

    def noted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == sending.THREAD:
            waited.append(timeout)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", noted)
    path = write_job(GOOD)
    with receiving(lambda _: NEVER) as receiver:
        transport(receiver.url, timeout=0.1, retry={"total": 50})
        assert run_directly(path).exit_code == 0
    assert waited == [0.1, 0.1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"OPENLINEAGE_URL": "http://localhost:5000"}, True),
        ({"OPENLINEAGE_CONFIG": "lineage.yml"}, True),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "console"}, True),
        ({"OPENLINEAGE_URL": "http://localhost:5000", "OPENLINEAGE_DISABLED": "true"}, False),
        ({"OPENLINEAGE_NAMESPACE": "warehouse"}, False),
    ],
)
def test_what_sets_it_up(
    settings: dict[str, str],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert sending.is_set_up() == expected


@pytest.mark.parametrize("folder", [".", ".openlineage"])
def test_a_file_sets_it_up(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "openlineage.yml").write_text("transport: {type: console}\n")
    assert sending.is_set_up()


def test_events_go_to_a_file_and_to_the_log(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_job(GOOD)
    write_yaml(
        Path("lineage.yml"),
        {"transport": {"type": "file", "log_file_path": "events.jsonl", "append": True}},
    )
    monkeypatch.setenv("OPENLINEAGE_CONFIG", "lineage.yml")
    assert run_directly(path).exit_code == 0
    lines = Path("events.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]
    monkeypatch.delenv("OPENLINEAGE_CONFIG")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "console")
    done = run_directly(path)
    assert '"eventType": "START"' in done.stderr + caplog.text
    assert not [
        name for name in os.environ if name.startswith("OPENLINEAGE__TRANSPORT__TRANSPORTS")
    ]


def test_a_broken_setting_is_a_warning(write_job: WriteJob) -> None:
    path = write_job(GOOD)
    write_yaml(Path("openlineage.yml"), {"transport": {"type": "http"}})
    done = run_directly(path)
    assert done.exit_code == 0
    assert f"{SENTENCE}: RuntimeError" in done.stdout


def test_a_broken_file_is_not_quoted(write_job: WriteJob) -> None:
    """The client has events in the log then, as without a transport."""
    path = write_job(GOOD)
    Path("openlineage.yml").write_text("transport: {type: http, url: [http://me:s3cret@h\n")
    done = run_directly(path)
    assert done.exit_code == 0
    assert "Published:" in done.stdout
    assert "s3cret" not in done.output


def test_without_the_client_there_is_one_sentence(
    write_job: WriteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_job(GOOD)
    monkeypatch.setenv("OPENLINEAGE_URL", "http://localhost:1")
    for name in [name for name in sys.modules if name.startswith("em_impute.runs.lineage.")]:
        if not name.endswith("sending"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(lineage, "events", raising=False)
    monkeypatch.setitem(sys.modules, "openlineage", None)
    for name in [name for name in sys.modules if name.startswith("openlineage.")]:
        monkeypatch.delitem(sys.modules, name)
    done = run_directly(path)
    assert done.exit_code == 0
    assert "Published:" in done.stdout
    assert "with warnings" not in done.stdout
    assert done.stderr.count("its client is not installed") == 1
    assert "pip install 'em-impute[openlineage]'" in done.stderr


def test_check_sends_nothing(write_job: WriteJob, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        assert em_impute("check", write_job(GOOD)).exit_code == 0
        assert receiver.bodies == []


def test_a_run_that_nobody_wants_to_hear_of_imports_no_client(write_job: WriteJob) -> None:
    write_job(GOOD)
    program = """
import sys
from em_impute.cli.main import main
try:
    main(["run", "job.yaml", "--direct", "--quiet"])
except SystemExit as ended:
    print(ended.code, [name for name in sys.modules if name.startswith("openlineage")])
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=kept | {"HOME": str(Path.cwd())},
    )
    assert ended.stdout.splitlines()[-1] == "0 []", ended.stderr
