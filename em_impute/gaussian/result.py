"""What a fit returns: `EMResult`, with a summary of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from em_impute.gaussian.divided import DividedSummary
from em_impute.gaussian.e_step import WeightedRows
from em_impute.gaussian.estimates import Regression, estimates, regression
from em_impute.gaussian.information import MissingInformation
from em_impute.gaussian.maximum import missing_information
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.parameters import Point, Standardisation
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.status import Iteration, Status

if TYPE_CHECKING:
    import pandas as pd

# A summary shows at most these.
MOST_PATTERNS = 10
MOST_NAMES = 6
MOST_CORRELATIONS = 12


@dataclass(frozen=True)
class Missingness:
    """How many cells a fit had to do without, and where.

    Attributes
    ----------
    n_rows, n_missing, n_patterns : int
        Rows, missing cells and distinct missingness patterns.
    frequent : tuple of (int, tuple of str)
        Rows and missing columns of the most frequent patterns, at most ten.
    """

    n_rows: int
    n_missing: int
    n_patterns: int
    frequent: tuple[tuple[int, tuple[str, ...]], ...]

    @classmethod
    def of(cls, summary: PatternSummary | DividedSummary) -> Self:
        """What `summary` shows; of a divided one only the numbers of rows and cells."""
        if isinstance(summary, DividedSummary):
            seen = summary.observed
            missing = seen.n_rows * len(seen.columns) - int(seen.observed_counts.sum())
            return cls(seen.n_rows, missing, 0, ())
        order = np.argsort(-summary.counts, kind="stable")[:MOST_PATTERNS]
        return cls(
            n_rows=summary.n_rows,
            n_missing=summary.n_rows * summary.n_columns - int(summary.observed_counts.sum()),
            n_patterns=len(summary.counts),
            frequent=tuple(
                (
                    int(summary.counts[s]),
                    tuple(summary.columns[j] for j in np.flatnonzero(~summary.patterns[s])),
                )
                for s in order
            ),
        )


@dataclass(frozen=True)
class Starts:
    """Whether EM ends at the same maximum from several starts.

    Attributes
    ----------
    n : int
        The starts.
    agree : bool
        Whether all of them led to the same maximum.
    sentence : str
        How they compare.
    """

    n: int
    agree: bool
    sentence: str


@dataclass(frozen=True)
class EMResult:
    """A fitted model and how it was reached.

    Attributes
    ----------
    model : GaussianModel
        Mean and covariance at the last accepted point.
    status : Status
        How the fit ended.
    message : str
        The same in a sentence, with what to do.
    loglik : float
        Observed-data log-likelihood of `model`, constants included, on the original scale,
        without the prior; of all columns that are not constant.
    n_iter : int
        Evaluations of the EM map after the one at the start.
    distance : float
        Estimated distance to the maximum, as in `Iteration`.
    prior_rows : float
        Pseudo-rows of the ridge prior that was used; 0 for maximum likelihood.
    trace : tuple of Iteration
        Every evaluation, in order.
    decisions : tuple of str
        What the program decided by itself, a sentence each.
    missingness : Missingness
        Rows and patterns of the data.
    starts : Starts or None
        How several starts compare; None with one.
    data : PatternSummary or None
        What the model was fitted to, for `estimates` and `regress`. Copies and pickles go without
        it: it holds rows of the table where a pattern has few.
    point : Point or None
        Where the fit ended, among the standardised columns that vary; None where none does.
    """

    model: GaussianModel
    status: Status
    message: str
    loglik: float
    n_iter: int
    distance: float
    prior_rows: float
    trace: tuple[Iteration, ...]
    decisions: tuple[str, ...]
    missingness: Missingness
    starts: Starts | None = None
    data: PatternSummary | None = field(default=None, repr=False, compare=False)
    point: Point | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"data": None, "point": None}

    @cached_property
    def missing_information(self) -> MissingInformation:
        """How well the data determine the estimate; unknown where the fit did not converge.

        It is found when it is first asked for, by up to 30 evaluations of the EM map, which can
        take longer than the fit. A copy knows it if it was asked for before.
        """
        if not self.missingness.n_missing or not self.model.covariance.any():
            return MissingInformation(0.0)
        if not self.is_at_rest or self.data is None or self.point is None:
            return MissingInformation(np.nan)
        scaling = Standardisation.of(self.data)
        rows = WeightedRows.of(self.data, scaling.varying, scaling.centre, scaling.scale)
        return missing_information(rows, self.point, self.prior_rows, scaling.varying_names)

    @property
    def worst_fraction(self) -> float:
        """Worst fraction of missing information: 0 without missing cells, NaN where unknown."""
        return self.missing_information.worst_fraction

    @property
    def worst_combination(self) -> tuple[tuple[str, float], ...]:
        """The parameters that it belongs to, with their loadings, the largest first."""
        return self.missing_information.worst_combination

    @property
    def remarks(self) -> tuple[str, ...]:
        """The message and the decisions, each once."""
        return tuple(dict.fromkeys([self.message, *self.decisions]))

    @property
    def is_at_rest(self) -> bool:
        """Whether the fit ended where EM goes no further: at a maximum, or at a saddle point."""
        return self.status in (Status.CONVERGED, Status.SADDLE)

    @property
    def converged(self) -> bool:
        """Whether the fit ended at a maximum."""
        return self.status is Status.CONVERGED

    def __repr__(self) -> str:
        return (
            f"EMResult({self.status.value} after {self.n_iter} iterations, "
            f"loglik={self.loglik:.6f}, {len(self.model.columns)} columns)"
        )

    def _repr_html_(self) -> str:
        # The sentences are longer than a notebook is wide.
        return f'<pre style="white-space: pre-wrap">{escape(self.summary())}</pre>'

    def estimates(
        self,
        level: float = 0.95,
        *,
        columns: Sequence[str] | None = None,
        rows: Any = None,
    ) -> pd.DataFrame:
        """Means, variances, covariances and correlations, with their standard errors.

        The errors are those of the observed information, right where cells are missing at random
        (Kenward & Molenberghs 1998). Intervals are symmetric for means and covariances, for
        variances on the scale of their logarithm, for correlations on that of Fisher's z.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals.
        columns : sequence of str, optional
            Parameters of these columns only; by default of all that vary. Of more than 100 some
            have to be named.
        rows : array_like or DataFrame of shape (n_rows, n_columns), optional
            The table that was fitted, for robust errors (the sandwich): they hold, in large
            samples, where the columns are not normal, too.

        Returns
        -------
        DataFrame
            With the columns ``parameter, estimate, std_error, conf_low, conf_high, fmi``. The last
            is the fraction of missing information: how much of what complete rows would tell of
            the parameter is not there.

        Raises
        ------
        ValueError
            If the fit did not end at a maximum, if the data do not determine a combination of
            parameters, which is named, or if the result is a copy without its data.
        """
        return estimates(self._fitted_to(), self.model, self.prior_rows, level, columns, rows)

    def regress(
        self,
        response: str,
        predictors: Sequence[str],
        level: float = 0.95,
        *,
        rows: Any = None,
    ) -> Regression:
        """Regress one column on others, by all rows, whichever of them they show.

        What is called a regression by full information maximum likelihood: slopes, intercept and
        R^2 follow from the estimated means and covariances, their errors by the delta method.

        Parameters
        ----------
        response : str
        predictors : sequence of str
        level : float, default 0.95
            Of the intervals.
        rows : array_like or DataFrame of shape (n_rows, n_columns), optional
            The table that was fitted, for robust errors.

        Raises
        ------
        ValueError
            As `estimates` does.
        """
        data = self._fitted_to()
        return regression(data, self.model, self.prior_rows, response, predictors, level, rows)

    def _fitted_to(self) -> PatternSummary:
        if not self.converged:
            raise ValueError(f"Standard errors are those of a maximum. {self.message}")
        return data_of(self)

    def summary(self) -> str:
        """The fit on a page: data, ending, estimates."""
        return "\n".join(
            [
                *_data(self.missingness, self.model.columns),
                "",
                *_ending(self),
                "",
                *_estimates(self.model),
            ]
        )


def data_of(result: EMResult) -> PatternSummary:
    """What a result was fitted to.

    Raises
    ------
    ValueError
        If the result came without it.
    """
    if result.data is None:
        raise ValueError(
            "This result came without the data that it was fitted to, as copies do, and fits whose "
            "rows stayed on Dask's workers; fit the model again here (in a job: `engine: local`), "
            "and ask that result."
        )
    return result.data


def _data(seen: Missingness, columns: Sequence[str]) -> Iterator[str]:
    cells = seen.n_rows * len(columns)
    yield "Multivariate Gaussian, estimated by EM"
    yield ""
    yield f"Rows {seen.n_rows:,}, columns {len(columns):,}, missing {seen.n_missing:,} of {cells:,}"
    shown = len(seen.frequent)
    some = f", the {shown} most frequent" if shown < seen.n_patterns else ""
    yield f"Missingness patterns {seen.n_patterns:,}{some}:"
    yield f"  {'rows':>13}  missing"
    for count, missing in seen.frequent:
        rest = len(missing) - MOST_NAMES
        more = f" and {rest} more" if rest > 0 else ""
        yield f"  {count:>13,}  {', '.join(missing[:MOST_NAMES]) or 'nothing'}{more}"


def _ending(result: EMResult) -> Iterator[str]:
    yield from result.remarks
    prior = f"{result.prior_rows:.4g} pseudo-rows" if result.prior_rows else "none"
    yield f"Status                                 {result.status.value}"
    yield f"Iterations                             {result.n_iter}"
    yield f"Log-likelihood                         {result.loglik:.6f}"
    yield f"Estimated distance to the maximum      {result.distance:.1g}"
    yield f"Ridge prior                            {prior}"
    fraction = "not known" if np.isnan(result.worst_fraction) else f"{result.worst_fraction:.4f}"
    yield f"Worst fraction of missing information  {fraction}"
    for name, loading in result.worst_combination:
        yield f"  {loading:6.3f}  {name}"


def _estimates(model: GaussianModel) -> Iterator[str]:
    """A line a column; its correlations with the earlier ones where they fit a page."""
    p = len(model.columns)
    shown = p if p <= MOST_CORRELATIONS else 0
    width = max(map(len, model.columns))
    yield f"{'Estimates':<{width}} {'mean':>13} {'sd':>13}" + ("  correlations" if shown else "")
    for i, name in enumerate(model.columns):
        row = model.correlation[i, : min(i + 1, shown)]
        correlations = "".join("      -" if np.isnan(r) else f" {r:6.3f}" for r in row)
        yield f"{name:<{width}} {model.mean[i]:>13.6g} {model.sd[i]:>13.6g} {correlations}".rstrip()
