"""What is said of a Prefect server that does not answer, and what one of our own reports."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from command_line import em_impute, good_rows, table
from conftest import WriteJob, own_environment
from prefect.settings import PREFECT_API_URL, temporary_settings

pytestmark = pytest.mark.usefixtures("prefect_server")


NEEDS_A_SERVER = (
    ("run", "job.yaml"),
    ("serve", "job.yaml"),
    ("deploy", "job.yaml", "--pool", "night"),
    ("backfill", "job.yaml", "--from", "2026-01-01", "--to", "2026-01-02"),
)


@pytest.mark.parametrize("arguments", NEEDS_A_SERVER, ids=lambda arguments: arguments[0])
def test_a_server_that_does_not_answer_is_said_in_a_sentence(
    write_job: WriteJob, arguments: tuple[str, ...]
) -> None:
    write_job(table(**good_rows()))
    with temporary_settings({PREFECT_API_URL: "http://night:s3cret@127.0.0.1:9/api"}):
        result = em_impute(*arguments)
    assert result.exit_code == 3
    assert result.stderr.startswith(
        "em-impute: The Prefect server at 127.0.0.1:9 does not answer; see that it is running"
    )
    assert "s3cret" not in result.output
    assert not Path("out/filled.csv").exists()


def test_a_server_that_wants_a_password_is_said_in_a_sentence(write_job: WriteJob) -> None:
    class Unwilling(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

    write_job(table(**good_rows()))
    with HTTPServer(("127.0.0.1", 0), Unwilling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            result = em_impute("deploy", "job.yaml", "--pool", "night")
        server.shutdown()
    assert result.exit_code == 3
    assert "does not let us in; set PREFECT_API_AUTH_STRING" in result.stderr


@pytest.mark.parametrize("asked_for", [None, "true"])
def test_a_server_for_one_run_reports_to_nobody_unless_asked(
    tmp_path: Path, asked_for: str | None
) -> None:
    """Its telemetry fails on a loaded machine, and would write a traceback on the terminal."""
    environment = own_environment(tmp_path)
    del environment["PREFECT_SERVER_ANALYTICS_ENABLED"]
    if asked_for:
        environment["PREFECT_SERVER_ANALYTICS_ENABLED"] = asked_for
    program = (
        "import os; from em_impute.cli.server import reach_server; reach_server(); "
        "print(os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == (asked_for or "false")
