"""Standard errors from what a finished run left: its model and its summary, without its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from em_impute.gaussian import GaussianModel, PatternSummary, Regression
from em_impute.gaussian.estimates import estimates, regression
from em_impute.job import FAMILIES, CannotRun
from em_impute.runs.history import read_report
from em_impute.tables.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd


def estimates_of(run: Path, level: float, columns: Sequence[str] | None) -> pd.DataFrame:
    """Return the estimates of a run's model, as `EMResult.estimates` does.

    Parameters
    ----------
    run : Path
        The folder of a run.
    level : float
        Of the intervals.
    columns : sequence of str or None
        Parameters of these columns; None for all.

    Raises
    ------
    CannotRun
        If it is no folder of a run that fitted a model, or the model has no standard errors.
    """
    fitted = _fitted(run)
    with _reasons():
        return estimates(*fitted, level, columns, None)


def regression_of(run: Path, response: str, predictors: Sequence[str], level: float) -> Regression:
    """Return a regression among the columns of a run's model, as `EMResult.regress` does.

    Parameters
    ----------
    run : Path
        The folder of a run.
    response : str
    predictors : sequence of str
    level : float
        Of the intervals.

    Raises
    ------
    CannotRun
        As `estimates_of` does.
    """
    fitted = _fitted(run)
    with _reasons():
        return regression(*fitted, response, predictors, level, None)


@contextmanager
def _reasons() -> Iterator[None]:
    """What the engine refuses, as what the user can mend."""
    try:
        yield
    except ValueError as reason:
        raise CannotRun(str(reason)) from None


def _fitted(run: Path) -> tuple[PatternSummary, GaussianModel, float]:
    folder = RunFolder(run)
    fit = read_report(folder).fit
    if fit is None:
        raise CannotRun("This run fitted no model, so there are no estimates.")
    if fit.family != "gaussian":
        raise CannotRun(
            f"The model of this run is a {FAMILIES[fit.family]}, whose parameters have no standard "
            "errors here; run the job with `model: {family: gaussian}`."
        )
    if fit.status != "converged":
        raise CannotRun(f"Standard errors are those of a maximum. {fit.message}")
    if folder.observed.exists():
        raise CannotRun(
            "The rows of this run's model stayed on Dask's workers, so there are no standard "
            "errors; fit to a sample of the rows, or with fewer columns, for these."
        )
    try:
        return PatternSummary.load(folder.summary), GaussianModel.load(folder.model), fit.prior_rows
    except (OSError, ValueError) as error:
        raise CannotRun(f"The model of the run cannot be read: {error}") from None
