"""The page on all jobs, index.html beside the folders of their runs, as it is after each run.

What was read of an earlier run is remembered beside it, so that a run need not read all reports.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import TypeAdapter

from em_impute.reporting import index
from em_impute.reporting.brief import Brief
from em_impute.runs.history import PastRun, past_run, run_folders
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.whole_files import written_whole

LAST = 20
"""So many runs of each job are on the page."""
MEMORY = ".index.json"


@dataclass(frozen=True)
class _Known:
    """A run in brief, and the size and the time of the report that it was read from."""

    size: int
    changed: int
    brief: Brief


_MEMORY = TypeAdapter(dict[str, _Known])


def write_index(runs: Path, last: int = LAST) -> Path:
    """Write a page on the last runs of all jobs into `runs`, and return where it is.

    Raises
    ------
    CannotRun
        If there is no run.
    """
    remembered, known = _remembered(runs), dict[str, _Known]()
    lines = [
        _line(job, [_past_run(path, remembered, known) for path in folders[-last:]])
        for job, folders in run_folders(runs).items()
    ]
    _write(runs / "index.html", index.html(lines).encode())
    if known != remembered:
        _write(runs / MEMORY, _MEMORY.dump_json(known))
    return runs / "index.html"


def _line(job: str, past: list[PastRun]) -> index.JobLine:
    latest = past[-1]
    report = f"{job}/{latest.id}/report.html" if latest.brief else None
    briefs = [one.brief for one in past]
    return index.JobLine.of(job, briefs, latest.outcome, latest.trouble, report)


def _past_run(path: Path, remembered: dict[str, _Known], known: dict[str, _Known]) -> PastRun:
    """A run as it is remembered, or as its report says; then it is `known`."""
    place = f"{path.parent.name}/{path.name}"
    try:
        found = RunFolder(path).numbers.stat()
    except OSError:
        return past_run(path)
    one = remembered.get(place)
    if one is None or (one.size, one.changed) != (found.st_size, found.st_mtime_ns):
        read = past_run(path)
        if read.brief is None:
            return read
        one = _Known(found.st_size, found.st_mtime_ns, read.brief)
    known[place] = one
    return PastRun(path.name, path, one.brief, "", None)


def _remembered(runs: Path) -> dict[str, _Known]:
    with suppress(OSError, ValueError):
        return _MEMORY.validate_json((runs / MEMORY).read_bytes())
    return {}


def _write(path: Path, content: bytes) -> None:
    # Runs of several jobs may end at the same moment.
    with written_whole(path, path.with_name(f".{path.name}.{uuid4().hex}.part")) as partial:
        partial.write_bytes(content)
