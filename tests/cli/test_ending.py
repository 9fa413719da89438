"""How commands end that are interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import GOOD, OLD, em_impute
from conftest import WriteJob

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_an_interrupted_run_has_an_exit_code_of_its_own(
    write_job: WriteJob, old_target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("em_impute.tables.summarise.summarise", interrupt)
    result = em_impute("run", write_job(GOOD))
    assert result.exit_code == 130
    assert "em-impute: interrupted" in result.output
    assert old_target.read_bytes() == OLD
