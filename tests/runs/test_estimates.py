"""`em-impute estimates`: what a run left gives the standard errors of its fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from holed_tables import factor_table
from measured_runs import Ran, ran

from em_impute.cli.main import main
from em_impute.gaussian import fit_gaussian

__all__ = ["ran"]
FRAME = pd.DataFrame(factor_table(120, 3, 0.2, seed=4), columns=["a", "b\nc", "d"])


def ask(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["estimates", *map(str, arguments)])


def test_they_are_those_of_the_fit(ran: Callable[..., Ran]) -> None:
    run, _, _ = ran(FRAME)
    known = fit_gaussian(FRAME).estimates()
    printed = ask(run.folder.path, "--json")
    assert printed.exit_code == 0
    found = pd.DataFrame(json.loads(printed.output))
    assert found.parameter.tolist() == known.parameter.tolist()
    np.testing.assert_allclose(found.std_error, known.std_error, rtol=1e-5)
    few = pd.DataFrame(json.loads(ask(run.folder.path, "--json", "--column", "d").output))
    assert few.parameter.tolist() == ["mean of d", "variance of d"]
    wide = pd.DataFrame(json.loads(ask(run.folder.path, "--json", "--level", "0.99").output))
    assert (wide.conf_high > found.conf_high).all()


def test_a_regression_is_that_of_the_fit(ran: Callable[..., Ran]) -> None:
    run, _, _ = ran(FRAME)
    known = fit_gaussian(FRAME).regress("a", ["d"])
    asked = (run.folder.path, "--regress", "a", "--on", "d")
    found = pd.DataFrame(json.loads(ask(*asked, "--json").output))
    np.testing.assert_allclose(found.estimate, known.coefficients.estimate, rtol=1e-5)
    assert known.explained in ask(*asked).output


def test_names_are_legible_on_the_terminal(ran: Callable[..., Ran]) -> None:
    run, _, _ = ran(FRAME)
    lines = ask(run.folder.path).output.splitlines()
    assert len(lines) == 1 + 3 + 6 + 3
    assert lines[0].split() == [
        "parameter", "estimate", "std_error", "conf_low", "conf_high", "fmi",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--column", "x"], "has no column 'x'", 2),
        (["--regress", "a", "--on", "a"], "the response not among them", 2),
        (["--regress", "a"], "--regress and --on go together", 2),
        (["--level", "95"], "95", 2),
    ],
)
def test_what_cannot_be_asked_is_said(
    options: list[str], message: str, code: int, ran: Callable[..., Ran]
) -> None:
    run, _, _ = ran(FRAME)
    found = ask(run.folder.path, *options)
    assert message in found.output
    assert found.exit_code == code


def test_a_run_without_a_model_has_none(ran: Callable[..., Ran], tmp_path: Path) -> None:
    run, _, _ = ran(FRAME.fillna(0.0))
    found = ask(run.folder.path)
    assert "fitted no model" in found.output
    assert found.exit_code == 2
    assert ask(tmp_path).exit_code == 2


def test_a_damaged_model_is_named(ran: Callable[..., Ran]) -> None:
    run, _, _ = ran(FRAME)
    run.folder.model.write_text("{}")
    found = ask(run.folder.path)
    assert "The model of the run cannot be read" in found.output
    assert found.exit_code == 2


def test_a_fit_that_did_not_converge_has_none(ran: Callable[..., Ran]) -> None:
    run, _, _ = ran(FRAME, model={"max_iter": 1, "prior": 0})
    found = ask(run.folder.path)
    assert "Standard errors are those of a maximum" in found.output
