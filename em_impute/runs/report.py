"""The last step of a run: what it has found is left on disk, also of a run that was stopped.

It does not fail. What cannot be made is named in the report and in the verdict, which warns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from em_impute.reporting import render
from em_impute.reporting.brief import in_brief
from em_impute.reporting.parts import PAUSES, Parts, kind_and_place, unmade
from em_impute.reporting.records import Report, Verdict
from em_impute.runs.history_table import write_history
from em_impute.runs.index import write_index
from em_impute.runs.kept import prune
from em_impute.runs.lineage import tell_end
from em_impute.runs.manifest import Manifest
from em_impute.runs.measure import report_numbers, with_manifest, with_verdict
from em_impute.runs.passes import passes_of
from em_impute.runs.run import Found, Outcome, Refused, Run, manifest, settle
from em_impute.runs.steps import SILENT, Log
from em_impute.tables import progress
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.whole_files import written_whole

Shown = Callable[[Report, Parts], object]
"""Shows a report elsewhere than on disk; each part of that may fail by itself."""


def report(
    run: Run, found: Found, log: Log = SILENT, show: Shown = lambda _numbers, _parts: None
) -> Outcome:
    """Leave what was found: checks, numbers, report and manifest.

    Parameters
    ----------
    run : Run
    found : Found
    log : Logger
    show : callable
        Shows the report where the run is watched.
    """
    try:
        outcome = _report(run, found, log, show)
    except Exception as fault:
        return unreported(run, found, fault, log)
    _show_on_the_page_of_all(run, log)
    return outcome


def _show_on_the_page_of_all(run: Run, log: Log) -> None:
    try:
        write_index(run.folder.path.parents[1])
    except Exception as fault:
        log.warning(
            "The page on all jobs, index.html, could not be written (%s); the run is not affected.",
            kind_and_place(fault),
        )


def _report(run: Run, found: Found, log: Log, show: Shown) -> Outcome:
    parts = Parts()
    # A run that was stopped over the parts of its columns has read its source all the same.
    found.snapshot = found.snapshot or _snapshot(run, parts)
    numbers, recorded = _measured(run, found, parts)
    numbers = _write_files(run, found, numbers, recorded, parts)
    _ended(run, found, numbers, parts)
    if not_passed_on := _passed_on(run, found, numbers, log):
        found.not_passed_on = not_passed_on
        numbers = with_verdict(numbers, run, found, parts)
        numbers = _write_files(run, found, numbers, recorded, parts)
    show(numbers, parts)
    parts.make("removal of working files", lambda: clear(run), None)
    parts.make("removal of earlier runs", lambda: _prune(run, log), None)
    if parts.failures != numbers.failures:
        numbers = with_verdict(numbers, run, found, parts)
        numbers = _write_files(run, found, numbers, recorded, parts)
    outcome = _ended(run, found, numbers, parts)
    if parts.failures:
        log.warning(unmade(parts.failures))
    log.info("The report is in %s.", run.folder.report)
    return outcome


def unreported(run: Run, found: Found, fault: Exception, log: Log = SILENT) -> Outcome:
    """The outcome of a run whose report ended by a fault; what it published is published.

    Parameters
    ----------
    run : Run
    found : Found
    fault : Exception
    log : Logger
    """
    if found.outcome:
        return found.outcome
    sentence = f"No report could be made ({kind_and_place(fault)})."
    log.warning(sentence)
    if found.published:
        verdict = Verdict(
            "published with warnings", f"The table was written to {run.job.target}. {sentence}"
        )
    else:
        verdict = Verdict("not published", f"{found.stopped_by} {sentence}")
    tell_end(run, found, verdict.sentence)
    with suppress(Exception):
        clear(run)
    cells = found.staged.imputed if found.staged else ()
    return Outcome(
        verdict,
        found.stopped,
        "",
        "",
        cells,
        str(run.job.target),
        run.folder.report,
        published=None if found.unsettled else found.published is not None,
    )


def leave_report(run: Run, reason: Exception) -> None:
    """Leave on disk what is known of a run that cannot do it itself; it may have published."""
    parts = Parts()
    found = Found(snapshot=_snapshot(run, parts), stopped_by=reason)
    settle(run, found)
    numbers, recorded = _measured(run, found, parts)
    numbers = _write_files(run, found, numbers, recorded if found.published else None, parts)
    _ended(run, found, numbers, parts)
    _passed_on(run, found, numbers, SILENT, aborted=True)


@contextmanager
def nothing_left_if_interrupted(run: Run) -> Iterator[None]:
    """Leave only a report of a run that is interrupted, unless it is a deployment's.

    Not by a hook of the flow: Ctrl-C ends a temporary server, too, without which none is called.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if not run.is_deployed and run.folder.path.is_dir():
            if not run.folder.manifest.exists():
                leave_report(run, Refused("The run was interrupted."))
            clear(run)
        raise


def clear(run: Run) -> None:
    """Remove what only the run needs, in its folder and in its database."""
    passes_of(run.job).clear(run.folder)


def _snapshot(run: Run, parts: Parts) -> Snapshot | None:
    return parts.make("snapshot", lambda: Snapshot.load(run.folder.read), None)


def _measured(run: Run, found: Found, parts: Parts) -> tuple[Report, Manifest | None]:
    """The report, and the manifest of a run that read its source."""
    numbers, snapshot = report_numbers(run, found, parts), found.snapshot
    if snapshot is None:
        return numbers, None
    recorded = parts.make("manifest", lambda: manifest(run, snapshot, found, numbers, parts), None)
    if recorded is None:
        return numbers, None
    whole = parts.make("section manifest", lambda: with_manifest(numbers, recorded), numbers)
    return whole, recorded


def _write_files(
    run: Run,
    found: Found,
    numbers: Report,
    recorded: Manifest | None,
    parts: Parts,
) -> Report:
    """Write the report and all that belongs to it; return it as it was written."""
    page = render.html(numbers, parts)
    if parts.failures != numbers.failures:
        # What of the page could not be made is a warning, which stands on it.
        numbers = with_verdict(numbers, run, found, parts)
        page = render.html(numbers, parts)
    verdict = numbers.verdict.sentence
    writings: dict[Path, Callable[[], None]] = {
        run.folder.checks: lambda: _write(run.folder.checks, json.dumps(_all_checks(found))),
        run.folder.numbers: lambda: _write(run.folder.numbers, json.dumps(numbers.to_dict())),
        run.folder.report: lambda: _write(run.folder.report, page),
    }
    if recorded:
        last = replace(recorded, verdict=verdict)
        writings[run.folder.manifest] = lambda: last.save(run.folder.manifest)
    for path, write in writings.items():
        parts.make(f"file {path.name}", write, None, PAUSES)
    return numbers


def _ended(run: Run, found: Found, numbers: Report, parts: Parts) -> Outcome:
    """Let whoever listens know how the run has ended, as far as it is known."""
    found.outcome = Outcome(
        verdict=numbers.verdict,
        stopped=found.stopped,
        fit=numbers.fit.message if numbers.fit else "",
        tested=numbers.self_test.sentence if numbers.self_test else "",
        cells=found.staged.imputed if found.staged else (),
        target=numbers.target,
        report=run.folder.report,
        brief=parts.make("the run in brief", lambda: in_brief(numbers), None),
        published=None if found.unsettled else found.published is not None,
    )
    progress.reported(found.outcome)
    return found.outcome


def _passed_on(
    run: Run, found: Found, numbers: Report, log: Log, aborted: bool = False
) -> tuple[str, ...]:
    """Pass on to other systems how the run has ended; sentences on where that failed."""
    sentences = (
        tell_end(run, found, numbers.verdict.sentence, aborted),
        write_history(run, numbers),
    )
    failures = tuple(filter(None, sentences))
    for sentence in failures:
        log.warning(sentence)
    return failures


def _all_checks(found: Found) -> list[dict[str, Any]]:
    return [checked.to_dict() for checked in (found.before, found.after) if checked]


def _prune(run: Run, log: Log) -> None:
    if removed := prune(run.folder.path.parent, run.job.keep_runs, datetime.now(UTC)):
        log.info("Removed %s folders of earlier runs.", removed)


def _write(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
