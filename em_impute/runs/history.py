"""What past runs have left: reports read back from their folders, and what a job has published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from em_impute.job import CannotRun, Job, Target
from em_impute.reporting.brief import Brief, in_brief
from em_impute.reporting.records import Report, Verdict
from em_impute.runs.manifest import read_manifests
from em_impute.tables import targets
from em_impute.tables.run_folder import RunFolder, folders_in
from em_impute.tables.whole_files import read_json, reason, written_whole
from em_impute.tables.writing import publications

RUN_ID = re.compile(r"\d{8}T\d{6}Z-\w+")


@dataclass(frozen=True)
class PastRun:
    """One run of a job.

    Attributes
    ----------
    id : str or None
    folder : Path or None
        None, both, of a run that was refused before it had a folder.
    brief : Brief or None
        None if the run left no report that can be read.
    trouble : str
        Why there is none, a sentence.
    finished : str or None
        When it ended, ISO 8601; None if it left no manifest, as a run does that read nothing.
    """

    id: str | None
    folder: Path | None
    brief: Brief | None
    trouble: str
    finished: str | None

    @property
    def outcome(self) -> str:
        """That of the verdict; "no report" of a run that left none."""
        if self.brief:
            return self.brief.outcome
        return "no report" if self.folder else "not published"

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON holds it; every run has the same keys."""
        known = asdict(self.brief) if self.brief else {"run": self.id, "verdict": self.trouble}
        return {
            **dict.fromkeys(field.name for field in fields(Brief)),
            **known,
            "outcome": self.outcome,
            "published": self.brief.published if self.brief else None if self.folder else False,
            "finished": self.finished,
            "folder": self.folder and str(self.folder),
            "report": self.folder and str(RunFolder(self.folder).report),
        }


def read_report(folder: RunFolder) -> Report:
    """Read the numbers of a run's report.

    Raises
    ------
    CannotRun
        If the folder has none, or they are not whole.
    """
    expected = "expected the folder of a finished run, such as runs/<job>/<run>"
    try:
        return Report.from_dict(read_json(folder.numbers))
    except FileNotFoundError:
        raise CannotRun(f"{folder.path} has no report.json; {expected}.") from None
    except OSError as error:
        raise CannotRun(f"{folder.numbers} cannot be read ({reason(error)}).") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise CannotRun(
            f"{folder.numbers} does not hold a report that this version of em_impute can read "
            f"({place}: {first['msg'].lower()})."
        ) from None
    except ValueError:
        raise CannotRun(f"{folder.numbers} is not JSON; {expected}.") from None


def rebuild_report(run: Path) -> Path:
    """Make report.html again from the numbers in a run's folder, and return where it is.

    Raises
    ------
    CannotRun
        If `run` is not the folder of a run that left its numbers.
    """
    from em_impute.reporting import render

    folder = RunFolder(run)
    page = render.html(read_report(folder))
    with written_whole(folder.report) as partial:
        partial.write_text(page, encoding="utf-8")
    return folder.report


def past_runs(job: str, runs: Path) -> tuple[PastRun, ...]:
    """Return the runs of a job whose folders are in `runs`, the earliest first.

    What else may be there is passed over; a run that was killed, or still goes on, has no brief.

    Raises
    ------
    CannotRun
        If there is none.
    """
    folders = _folders_by_job(runs)
    if job not in folders:
        known = f"; there are runs of {', '.join(folders)}" if folders else ""
        raise CannotRun(f"{runs} has no run of the job {job!r}{known}.")
    return tuple(map(past_run, folders[job]))


def past_runs_of_all(runs: Path, last: int) -> dict[str, tuple[PastRun, ...]]:
    """Return the last runs of each job whose runs' folders are in `runs`, the earliest first.

    Raises
    ------
    CannotRun
        If there is no run.
    """
    return {job: tuple(map(past_run, of_job[-last:])) for job, of_job in run_folders(runs).items()}


def run_folders(runs: Path) -> dict[str, list[Path]]:
    """Return the folders of the runs of each job that has some, the earliest first.

    Raises
    ------
    CannotRun
        If there is no run.
    """
    if folders := _folders_by_job(runs):
        return folders
    raise CannotRun(f"{runs} has no run of any job; name another folder with --runs.")


def _folders_by_job(runs: Path) -> dict[str, list[Path]]:
    folders = {
        job.name: [run for run in folders_in(job) if RUN_ID.fullmatch(run.name)]
        for job in folders_in(runs)
    }
    return {job: of_job for job, of_job in folders.items() if of_job}


def past_run(path: Path) -> PastRun:
    """Return the run that left a folder."""
    folder, brief, trouble = RunFolder(path), None, ""
    try:
        brief = in_brief(read_report(folder))
    except CannotRun as mistake:
        trouble = str(mistake)
    if not folder.numbers.exists():
        trouble = "It left no report: it was killed, or still goes on."
    return PastRun(path.name, path, brief, trouble, _finished(folder))


def run_that_ended(path: Path, brief: Brief | None) -> PastRun:
    """Return a run that has just ended, of which more may be known than could be written."""
    if brief is None:
        return past_run(path)
    return PastRun(path.name, path, brief, "", _finished(RunFolder(path)))


def run_without_folder(trouble: str) -> PastRun:
    """Return a run that was refused before it had a folder."""
    return PastRun(None, None, None, trouble, None)


def _finished(folder: RunFolder) -> str | None:
    try:
        finished = read_json(folder.manifest)["finished"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return finished if isinstance(finished, str) else None


# --- What a job has published ----------------------------------------------------------------

BEFORE = Verdict("published", "An earlier run has published it.")


def published_dates(runs: Path, job: Job) -> dict[date, Verdict]:
    """The data dates that a job has published to where it would publish them today.

    A date whose table or rows have gone since is not among them; that of one whose table another
    program has written since is not published, with the reason.

    Raises
    ------
    CannotRun
        If a database cannot be asked.
    """
    found: dict[date, Verdict] = {}
    for _, manifest in read_manifests(runs / job.name):
        if manifest["target"] is None or "date" not in manifest:
            continue
        day = date.fromisoformat(manifest["date"])
        target = job.at(day).target
        if not _is_the_same(target, manifest["definition"]["target"]):
            continue
        name = publications.named(job, manifest["run"], day)
        match targets.standing(target, name, manifest["target"]["sha256"]):
            case "held":
                found[day] = BEFORE
            case "replaced" if target.mode != "append":
                found[day] = BEFORE
            case "in doubt":
                doubt = Verdict("not published", targets.in_doubt(target, name))
                found.setdefault(day, doubt)
    return found


def _is_the_same(target: Target, recorded: Mapping[str, Any]) -> bool:
    """Whether a target is the one of a manifest; an option that this lacks stood at its default."""
    defaults = {name: option.default for name, option in type(target).model_fields.items()}
    return target.model_dump(mode="json") == {**defaults, **recorded}


def imputed_before(folder: Path, but: str = "") -> frozenset[str]:
    """The columns that a job's last run that published has filled, by what its report says.

    Parameters
    ----------
    folder : Path
        Where the folders of the job's runs are.
    but : str
        The id of a run that does not count.
    """
    last = last_published(folder, but)
    # What an older version or a damaged disk left is no reason to stop.
    with suppress(OSError, ValueError, KeyError, TypeError):
        columns = read_json(RunFolder(last).numbers)["columns"] if last else ()
        return frozenset(column["name"] for column in columns if column["role"] == "impute")
    return frozenset()


def last_published(folder: Path, but: str = "") -> Path | None:
    """The folder of a job's last run that published; None if none did.

    Parameters
    ----------
    folder : Path
        Where the folders of the job's runs are.
    but : str
        The id of a run that does not count.
    """
    runs = [
        (str(manifest.get("finished")), path)
        for path, manifest in read_manifests(folder)
        if manifest.get("target") is not None and path.name != but
    ]
    return max(runs)[1] if runs else None
