"""What a result says of itself."""

from __future__ import annotations

from html import unescape

import numpy as np
import pytest
from holed_tables import factor_table, reference

from em_impute.gaussian import ConvergenceWarning, EMResult, PatternSummary, fit_gaussian


def fitted(name: str, **options: object) -> EMResult:
    known = reference(name)
    return fit_gaussian(PatternSummary.from_array(known.X, known.columns), **options)  # type: ignore[arg-type]


def number_after(label: str, text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(label)]
    return line.removeprefix(label).strip()


def test_summary_of_airquality() -> None:
    result = fitted("airquality")
    text = result.summary()
    assert "Rows 153, columns 4, missing 44 of 612" in text
    assert "Missingness patterns 4:" in text
    rows = [line.split(maxsplit=1) for line in text.splitlines()[5:9]]
    assert rows == [
        ["111", "nothing"],
        ["35", "Ozone"],
        ["5", "Solar.R"],
        ["2", "Ozone, Solar.R"],
    ]
    assert result.message in text
    assert number_after("Status", text) == "converged"
    assert number_after("Iterations", text) == str(result.n_iter)
    assert number_after("Log-likelihood", text) == "-2326.697383"
    assert number_after("Ridge prior", text) == "none"
    assert number_after("Worst fraction of missing information", text) == "0.3219"
    assert "1.000  covariance of Ozone and Solar.R" in text
    assert text.splitlines()[-1].split() == [
        "Temp", "77.8824", "9.43429", "0.687", "0.281", "-0.458", "1.000",
    ]  # fmt: skip


def test_summary_tells_what_was_decided() -> None:
    text = fitted("marijuana", prior_rows="auto").summary()
    assert "Without a prior the likelihood has no maximum" in text
    assert number_after("Ridge prior", text) == "9e-06 pseudo-rows"


def test_summary_of_a_fit_that_was_stopped() -> None:
    with pytest.warns(ConvergenceWarning):
        text = fitted("boys", max_iter=3).summary()
    assert number_after("Status", text) == "max_iterations"
    assert number_after("Worst fraction of missing information", text) == "not known"


def test_summary_of_a_wide_table_stays_readable() -> None:
    """Ten patterns, six names in each, no correlations."""
    result = fit_gaussian(factor_table(400, 16, 0.6, seed=41), prior_rows=20.0)
    lines = result.summary().splitlines()
    assert f"Missingness patterns {result.missingness.n_patterns:,}, the 10 most frequent:" in lines
    assert any("more" in line for line in lines)
    assert max(map(len, lines[:15])) < 80
    assert "correlations" not in "\n".join(lines)


def test_summary_of_constant_columns() -> None:
    lines = fit_gaussian(np.ones((2, 2))).summary().splitlines()
    assert lines[-1].split() == ["x1", "1", "0", "-", "-"]


def test_missingness_counts_rows_cells_and_patterns() -> None:
    X = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0], [np.nan, np.nan]])
    seen = fit_gaussian(X, prior_rows=1.0).missingness
    assert (seen.n_rows, seen.n_missing, seen.n_patterns) == (4, 3, 3)
    assert seen.frequent[0] == (2, ())
    assert set(seen.frequent[1:]) == {(1, ("x1",)), (1, ("x0", "x1"))}


def test_repr_is_one_short_line() -> None:
    assert repr(fitted("airquality")).startswith("EMResult(converged after ")
    assert len(repr(fitted("airquality"))) < 100


def test_a_result_shows_itself_as_its_summary_with_escaped_names() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    summary = PatternSummary.from_array(factor_table(120, 3, 0.2, seed=3), ["a", "b", hostile])
    result = fit_gaussian(summary)
    page = result._repr_html_()
    assert hostile not in page
    assert result.summary() in unescape(page)
