"""How a command that ran a job has ended, for people or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from em_impute.cli.ending import (
    CANNOT_RUN,
    FAILED,
    INTERRUPTED,
    PUBLISHED,
    REFUSED,
    signal_of,
)
from em_impute.cli.terminal import COLOURS
from em_impute.job import CannotRun
from em_impute.job.legible import legible, legible_lines
from em_impute.runs.history import run_that_ended, run_without_folder
from em_impute.runs.run import Outcome, Stop

EXIT_CODES = {None: PUBLISHED, "refused": REFUSED, "cannot run": CANNOT_RUN, "failed": FAILED}


@dataclass(frozen=True)
class Ended:
    """How a command that ran a job has ended.

    Attributes
    ----------
    outcome : Outcome or None
        What was reported; None of a run that did not begin.
    ending : object
        What Prefect gave back: the outcome, or the error that it ended by.
    """

    outcome: Outcome | None
    ending: object

    @classmethod
    def of(cls, reported: object, ending: object) -> Ended:
        """By what was reported, which is so, whatever became of Prefect then."""
        outcome = ending if isinstance(ending, Outcome) else reported
        return cls(outcome if isinstance(outcome, Outcome) else None, ending)

    @property
    def stopped(self) -> Stop | None:
        """What kind of thing stopped the run."""
        if self.outcome:
            return self.outcome.stopped
        return "cannot run" if isinstance(self.ending, CannotRun) else "failed"

    @property
    def exit_code(self) -> int:
        """By what stopped the run, or by the signal that interrupted it."""
        number = signal_of(self.ending)
        return 128 + number if number else EXIT_CODES[self.stopped]

    @property
    def sentence(self) -> str:
        """What there is to say beside the outcome, or without one; empty if nothing."""
        ending, outcome = self.ending, self.outcome
        if signal_of(ending):
            if outcome and outcome.published:
                return f"interrupted; the table had been published to {outcome.target} before."
            return INTERRUPTED
        if isinstance(ending, CannotRun | OSError) and not outcome:
            return str(ending)
        if not isinstance(ending, Exception):
            return ""
        kind = type(ending).__name__
        if outcome:
            return f"Prefect failed when the run had ended ({kind}); its pages may not show how."
        return f"the run failed ({kind}); see its log, or run it with PREFECT_LOGGING_LEVEL=DEBUG."

    def to_dict(self) -> dict[str, Any]:
        """The run as one object, which has the same keys however it ended."""
        ended = {"stopped_by": self.stopped, "exit_code": self.exit_code}
        outcome = self.outcome
        if outcome is None:
            # An error without a sentence of ours may have come at whatever moment.
            known = {} if isinstance(self.ending, CannotRun | OSError) else {"published": None}
            return run_without_folder(self.sentence).to_dict() | known | ended
        verdict = {
            "outcome": outcome.verdict.outcome,
            "verdict": outcome.verdict.sentence,
            "published": outcome.published,
        }
        return run_that_ended(outcome.report.parent, outcome.brief).to_dict() | verdict | ended

    def show(self, quiet: bool, as_json: bool) -> None:
        """Print it.

        Parameters
        ----------
        quiet : bool
            Whether the verdict is all.
        as_json : bool
            Whether it is printed as one object.
        """
        outcome, sentence = self.outcome, self.sentence
        if as_json:
            click.echo(json.dumps(self.to_dict()))
        elif outcome and quiet:
            _show_verdict(outcome)
        elif outcome:
            _show_outcome(outcome)
        if sentence and not (as_json and not outcome):
            click.echo(f"em-impute: {legible_lines(sentence)}", err=True)


def _show_verdict(outcome: Outcome) -> None:
    kind = outcome.verdict.outcome
    click.echo(
        f"{click.style(kind.capitalize(), COLOURS[kind])}: {legible(outcome.verdict.sentence)}"
    )


def _show_outcome(outcome: Outcome) -> None:
    """The run in a few lines."""
    click.echo()
    _show_verdict(outcome)
    lines = {
        "fit": outcome.fit,
        "test": outcome.tested,
        "cells": ", ".join(f"{name} {cells:,}" for name, cells in outcome.cells),
        "target": "" if outcome.stopped else outcome.target,
        "report": str(outcome.report),
    }
    for name, text in lines.items():
        if text:
            click.echo(f"  {name:<8}{legible(text)}")
