"""What a check has found: `CheckResult`, and the verdict on all of them, `Checked`."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from em_impute.job import Severity, Stage

Source = Literal["great_expectations", "precondition", "invariant"]

_MOST_NAMED = 3


@dataclass(frozen=True)
class CheckResult:
    """What one check expected and what was seen.

    Attributes
    ----------
    name : str
        The GX expectation's name, or that of the precondition or invariant.
    column : str or None
        The column, where the check is about exactly one.
    expected : str
        What must hold, in words: "Temp between -60 and 140".
    severity : {"critical", "warning", "info"}
        What a failure means: the job stops; a warning is shown; it is shown in the table only.
    success : bool
    observed : str
        What was seen, in aggregates only: "3 of 153 rows unexpected (2.0%)".
    source : {"great_expectations", "precondition", "invariant"}
    """

    name: str
    column: str | None
    expected: str
    severity: Severity
    success: bool
    observed: str
    source: Source

    def __str__(self) -> str:
        observed = re.sub(r" \([\d.]+%\)", "", self.observed)
        return f"{self.expected} ({observed})"


@dataclass(frozen=True)
class Checked:
    """The results of all checks of one table, and the verdict on it.

    Attributes
    ----------
    results : tuple of CheckResult
    stage : {"input", "output"}
        Which table was checked: the one that was read, or the filled one.
    note : str
        A sentence, if the job's checks saw a sample of the rows only; else empty.
    not_done : tuple of str
        Sentences on what a project of Great Expectations wanted done with the results, in vain.
    """

    results: tuple[CheckResult, ...]
    stage: Stage = "input"
    note: str = ""
    not_done: tuple[str, ...] = ()

    def failed(self, severity: Severity) -> tuple[CheckResult, ...]:
        """Return the failures of one severity."""
        return tuple(r for r in self.results if not r.success and r.severity == severity)

    @property
    def refusal(self) -> str | None:
        """Why the job must stop, in one sentence; None if it may go on."""
        failures = self.failed("critical")
        if not failures:
            return None
        count = "1 critical check" if len(failures) == 1 else f"{len(failures)} critical checks"
        named = "; ".join(map(str, failures[:_MOST_NAMED]))
        more = f"; and {len(failures) - _MOST_NAMED} more" if failures[_MOST_NAMED:] else ""
        return f"{count} failed on the {self.stage}: {named}{more}."

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each failure that does not stop the job."""
        unmet = (f"Not met on the {self.stage}: {r}." for r in self.failed("warning"))
        return (*unmet, *self.not_done)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of text and booleans, which is strict JSON."""
        results = [asdict(result) for result in self.results]
        return {"stage": self.stage, "note": self.note, "results": results}
