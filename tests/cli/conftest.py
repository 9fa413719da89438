"""What stands at the target before a command is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import OLD


@pytest.fixture
def old_target(tmp_path: Path) -> Path:
    """Yesterday's table, at the target of `write_job`."""
    path = tmp_path / "out" / "filled.csv"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path
