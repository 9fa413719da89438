"""The verdict says how a run ended, and why."""

from __future__ import annotations

import pytest

from em_impute.reporting.verdict import verdict_on


@pytest.mark.parametrize(
    ("refusal", "warnings", "cells", "outcome", "words"),
    [
        (None, (), 44, "published", "44 missing cells were filled and the table was written to t"),
        (None, (), 1, "published", "1 missing cell was filled"),
        (None, (), 0, "published", "No cell needed filling"),
        (None, ("Wind is constant.",), 3, "published with warnings", "Wind is constant."),
        ("Temp is out of range.", (), 3, "not published", "t was not changed."),
    ],
)
def test_verdict_says_what_became_of_the_run(
    refusal: str | None, warnings: tuple[str, ...], cells: int, outcome: str, words: str
) -> None:
    verdict = verdict_on(refusal=refusal, warnings=warnings, imputed_cells=cells, target="t")
    assert verdict.outcome == outcome
    assert words in verdict.sentence
    assert verdict.sentence.startswith(refusal or "")
