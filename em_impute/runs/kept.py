"""Which folders of a job's runs are kept, and what is removed of runs that were killed."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from em_impute.job import KeptRuns
from em_impute.runs.manifest import read_manifests
from em_impute.tables.run_folder import RunFolder, folders_in


def clear_dead_runs(folder: Path) -> int:
    """Remove what runs that were killed have left in a job's folder; how many there were.

    One of them that is tried again reads its source again, as it does where another run has ended
    meanwhile.
    """
    dead = [run for run in map(RunFolder, folders_in(folder)) if run.is_dead]
    for run in dead:
        run.clear()
    return len(dead)


def prune(folder: Path, keep: KeptRuns, now: datetime) -> int:
    """Remove the run folders in a job's folder that are not to be kept; how many there were.

    The latest run that published is kept, and so is one without a manifest that may still be
    running or be tried again: that is a week after the last change in it.

    Parameters
    ----------
    folder : Path
    keep : KeptRuns
        Which are to be kept.
    now : datetime
    """
    runs = [(path, manifest) for path, manifest in read_manifests(folder)][::-1]
    published = next((path for path, manifest in runs if manifest["target"] is not None), None)
    gone = [
        path
        for i, (path, manifest) in enumerate(runs)
        if path != published
        and (
            (keep.count is not None and i >= keep.count)
            or (keep.days is not None and _days_ago(manifest["started"], now) > keep.days)
        )
    ]
    if keep != KeptRuns():
        others = set(folders_in(folder)) - {path for path, _ in runs}
        gone += [path for path in others if RunFolder(path).is_left(now)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)


def _days_ago(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)) / timedelta(days=1)


def is_overtaken(run: RunFolder) -> bool:
    """Whether another run of the job has ended since this one read its source."""
    read = run.read.stat().st_mtime_ns
    others = (RunFolder(path) for path in folders_in(run.path.parent) if path != run.path)
    ended = (one.manifest for one in others if one.manifest.exists())
    return any(manifest.lstat().st_mtime_ns > read for manifest in ended)
