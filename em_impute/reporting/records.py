"""What a report says: typed records, of which `Report` has all.

They hold plain Python values only, so a report can be kept as JSON and rendered again without the
run. A number that does not exist (the mean of no cells) is None, never NaN. A run that was refused
early has a report too: what was not reached is None or empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_type_hints

import numpy as np
from pydantic import TypeAdapter

from em_impute.gaussian.arrays import Floats
from em_impute.job.options import Family
from em_impute.reporting.components import Components
from em_impute.reporting.drift import Drift
from em_impute.reporting.factors import Factors
from em_impute.reporting.imputations import Imputations
from em_impute.reporting.matrices import Correlations, Together
from em_impute.reporting.means import Means
from em_impute.reporting.missingness import McarTest, MissingnessMap, Patterns
from em_impute.reporting.parts import Failure
from em_impute.reporting.rows_of_model import RowsOfModel
from em_impute.reporting.sensitivity import Sensitivity
from em_impute.self_test.scores import SelfTest
from em_impute.tables.digest import Moments

T = TypeVar("T")

Ending = Literal["published", "published with warnings", "not published"]
Role = Literal["impute", "predictor", "key", "passthrough"]


@dataclass(frozen=True)
class Verdict:
    """What became of the run, and why, in a sentence."""

    outcome: Ending
    sentence: str


@dataclass(frozen=True)
class Column:
    """One column of the table.

    `em` describes the column as the models that fill it estimate it for all rows, observed or not,
    on its own scale; it counts no rows where the column is not in the model or nothing was fitted.
    `transform` is what the model sees of it, such as log; empty if that is the column as it is.
    `kurtosis` is the fourth standardised moment of what the model sees of the observed cells; 3 is
    the normal's. `left` says why the missing cells are left missing; empty if there are none or
    they are filled.
    """

    name: str
    role: Role
    missing: int
    observed: Moments
    em: Moments
    imputed: Moments
    transform: str = ""
    kurtosis: float | None = None
    left: str = ""

    @property
    def missing_share(self) -> float:
        """Missing cells as a fraction of all cells of the column; 0 in an empty table."""
        return self.missing / max(self.missing + self.observed.count, 1)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the EM map; `step` is start, em, accelerated or rejected."""

    number: int
    loglik: float | None
    objective: float | None
    distance: float | None
    step: str


@dataclass(frozen=True)
class Fit:
    """How EM went.

    `distance` is the estimated distance to the maximum: of means in standard deviations, of
    covariances in correlation units. `trace` is thinned evenly to `MAX_EVALUATIONS`.

    Attributes
    ----------
    worst_fraction : float or None
        Worst fraction of missing information; None where it is not known.
    worst_combination : tuple of (str, float)
        The parameters that it belongs to, with their loadings, the largest 1.
    condition : float or None
        Condition number of the correlation matrix.
    starts : int
        From how many points EM was started.
    starts_agree : bool or None
        Whether all of them led to the same maximum; None with one.
    family : {"gaussian", "mixture", "factor"}
        Of a mixture `distance` is what an M-step gains of the log-likelihood for each row, of a
        factor model what that may yet rise by.
    """

    status: str
    message: str
    evaluations: int
    rejected: int
    loglik: float | None
    distance: float | None
    tol: float | None
    prior_rows: float
    trace: tuple[Evaluation, ...]
    worst_fraction: float | None = None
    worst_combination: tuple[tuple[str, float], ...] = ()
    condition: float | None = None
    starts: int = 1
    starts_agree: bool | None = None
    family: Family = "gaussian"


@dataclass(frozen=True)
class Distribution:
    """Histogram of a column's observed and imputed cells on shared bins.

    `edges` has one entry more than the two tuples of counts. `whole` says that all observed cells
    are whole numbers, `log` that the bins are equally wide on a logarithmic scale.
    """

    column: str
    edges: tuple[float, ...]
    observed: tuple[int, ...]
    imputed: tuple[int, ...]
    whole: bool = False
    log: bool = False

    def density(self, counts: Sequence[int]) -> Floats:
        """Counts as a density over the edges, of area one; zeros where nothing was counted."""
        shares = np.asarray(counts, dtype=float) / max(sum(counts), 1)
        edges = np.log(self.edges) if self.log else self.edges
        with np.errstate(over="ignore"):  # of bins as wide as all numbers together
            return shares / np.diff(edges)


@dataclass(frozen=True)
class LevelCounts:
    """Observed and imputed cells of each level of a column of categories, which it names."""

    column: str
    levels: tuple[str, ...]
    observed: tuple[int, ...]
    imputed: tuple[int, ...]


@dataclass(frozen=True)
class ImputedCells:
    """What is known of the imputed cells of a column of numbers.

    Attributes
    ----------
    column : str
    count : int
    sd_mean, sd_median : float or None
        Of the cells' conditional standard deviations, over the standard deviation of the column as
        the model estimates it: near 0 where the other columns determine the cell, near 1 where they
        do not explain it.
    beyond : int
        Cells below the least or above the greatest observed one.
    at_bound : int or None
        Cells at a bound that the job sets; None if it sets none.
    """

    column: str
    count: int
    sd_mean: float | None
    sd_median: float | None
    beyond: int
    at_bound: int | None = None

    @property
    def share_beyond(self) -> float:
        """Fraction of the imputed cells that are beyond the observed range."""
        return self.beyond / max(self.count, 1)


@dataclass(frozen=True)
class GroupRow:
    """The model of a group of rows; one that has none of its own is filled by that of all rows.

    `status` is that of its fit, or "too few rows" or "a column shows nothing".
    """

    label: str
    rows: int
    own_model: bool
    status: str
    iterations: int | None = None


@dataclass(frozen=True)
class Groups:
    """The largest groups of rows, and how many there are.

    `rows` is ordered by the groups' rows, descending; groups of fewer than `FEWEST_ROWS` are not in
    it.
    """

    rows: tuple[GroupRow, ...]
    total: int
    own_models: int


@dataclass(frozen=True)
class Runtime:
    """What a run took until its report: seconds by step, and the most memory of its process."""

    steps: tuple[tuple[str, float], ...]
    peak_memory: int | None = None

    @property
    def seconds(self) -> float:
        """Seconds of all steps together."""
        return sum(seconds for _, seconds in self.steps)


@dataclass(frozen=True)
class CheckRow:
    """One check with what it expected and what it saw."""

    stage: Literal["input", "output"]
    name: str
    expected: str
    observed: str
    severity: str
    success: bool
    column: str | None = None


@dataclass(frozen=True)
class Report:
    """All that a report says.

    `columns` holds every column of the table, in its order; `drawn` says whether the imputed cells
    are draws, not means. `mcar_tests` are those of cells missing completely at random. `warnings`
    are the sentences behind the verdict, the most important first; some of them are `decisions`,
    too. `self_test` is None where no cell was hidden. `manifest` has names and values of what the
    run was made of. `failures` are the parts of it that could not be made; `unsettled` says that
    nobody knows whether the target holds the table. What is said of imputed cells is about the
    first of several `imputations`. `rows_of_model` is None where those are the table's own.
    `is_direct` says that the run went without Prefect, `flow_run` where Prefect's UI shows it, if
    that is known. `components` are those of a mixture,
    `factors` those of a factor model. `date` is the data date.
    """

    job: str
    run: str
    started: str
    source: str
    target: str
    verdict: Verdict
    rows: int
    columns: tuple[Column, ...]
    fit: Fit | None = None
    patterns: Patterns | None = None
    distributions: tuple[Distribution, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    decisions: tuple[str, ...] = ()
    drawn: bool = False
    warnings: tuple[str, ...] = ()
    missingness: MissingnessMap | None = None
    together: Together | None = None
    mcar_tests: tuple[McarTest, ...] = ()
    groups: Groups | None = None
    correlations: Correlations | None = None
    drift: Drift | None = None
    imputed: tuple[ImputedCells, ...] = ()
    levels: tuple[LevelCounts, ...] = ()
    runtime: Runtime | None = None
    manifest: tuple[tuple[str, str], ...] = ()
    self_test: SelfTest | None = None
    failures: tuple[Failure, ...] = ()
    unsettled: bool = False
    means: Means | None = None
    imputations: Imputations | None = None
    sensitivity: Sensitivity | None = None
    rows_of_model: RowsOfModel | None = None
    is_direct: bool = False
    components: Components | None = None
    date: str = ""
    factors: Factors | None = None
    flow_run: str = ""

    @property
    def published(self) -> bool:
        """Whether the table was written to its target."""
        return self.verdict.outcome != "not published"

    @property
    def cells(self) -> int:
        """All cells of the table."""
        return self.rows * len(self.columns)

    @property
    def missing_cells(self) -> int:
        """Missing cells of the whole table as it was read."""
        return sum(column.missing for column in self.columns)

    @property
    def imputed_cells(self) -> int:
        """Cells that the run filled."""
        return sum(column.imputed.count for column in self.columns)

    @property
    def left(self) -> tuple[Column, ...]:
        """Columns with missing cells that are left missing, those with the most of them first."""
        return tuple(sorted((c for c in self.columns if c.left), key=lambda c: -c.missing))

    @property
    def left_cells(self) -> int:
        """Missing cells that are left missing."""
        return sum(column.missing for column in self.left)

    @property
    def panels(self) -> tuple[Distribution | LevelCounts, ...]:
        """What was observed and imputed, column by column."""
        return (*self.distributions, *self.levels)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as strict JSON values; a NaN or an infinity becomes null."""
        values: dict[str, Any] = json.loads(_REPORT.dump_json(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """Make a report again from what `to_dict` returned.

        Raises
        ------
        pydantic.ValidationError
            If a field is missing or of the wrong type; it names the field.
        """
        return _REPORT.validate_python(values)


_REPORT = TypeAdapter(Report)
_FIELDS = {name: TypeAdapter(hint) for name, hint in get_type_hints(Report).items()}


def kept(field: str, value: T) -> T:
    """Return the value of a field of a report, which can be read again from what it is kept as.

    Raises
    ------
    ValueError
        If it cannot.
    """
    adapter: TypeAdapter[T] = _FIELDS[field]
    adapter.validate_json(adapter.dump_json(value))
    return value
