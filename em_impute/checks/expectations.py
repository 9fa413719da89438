"""Expectations about missing and imputed cells, for any suite of Great Expectations (GX).

Importing this module registers them with GX; a job names them under `checks` as it names GX's own.
They work on tables in pandas. Their results hold numbers about whole columns, never a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from great_expectations.compatibility import pydantic
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    BatchExpectation,
    ColumnAggregateExpectation,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.expectations.model_field_types import ConditionParser
from great_expectations.expectations.row_conditions import RowConditionType
from great_expectations.render.components import (
    LegacyDiagnosticRendererType,
    LegacyRendererType,
    RenderedStringTemplateContent,
)
from great_expectations.render.renderer.renderer import renderer
from great_expectations.render.renderer_configuration import RendererConfiguration
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from em_impute.gaussian import PatternSummary, aleksic_mcar_test, little_mcar_test
from em_impute.gaussian.cells import NotExact, NotNumbers, numbers_of
from em_impute.gaussian.table import columns_of
from em_impute.job import MASK

_MCAR, _IMPUTED = "em_impute.mcar_test", "em_impute.imputed_against_observed"


class CannotJudge(Exception):
    """The table cannot be judged by an expectation; the message says why, without any value."""


class InWords:
    """What an expectation of ours expects, and has seen, as a report says it."""

    expectation_type: ClassVar[str]

    def expected(self) -> str:
        """What must hold, as a sentence without its full stop."""
        raise NotImplementedError

    @staticmethod
    def observed(result: Mapping[str, Any]) -> str:
        """What was seen, from the result of a validation."""
        raise NotImplementedError

    @classmethod
    def _words_for(cls, kwargs: Mapping[str, Any]) -> str:
        options = {name: value for name, value in kwargs.items() if value is not None}
        return f"{cls(**options).expected()}.".replace("$", "$$")

    # GX's own pages, which have two kinds of renderers, say it in the same words.

    @classmethod
    def _prescriptive_template(
        cls, renderer_configuration: RendererConfiguration[Any]
    ) -> RendererConfiguration[Any]:
        renderer_configuration.template_str = cls._words_for(renderer_configuration.kwargs)
        return renderer_configuration

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG003
    ) -> list[RenderedStringTemplateContent]:
        shown = configuration or (result and result.expectation_config)
        words = cls._words_for(shown.kwargs if shown else {})
        return [
            RenderedStringTemplateContent(
                content_block_type="string_template",
                string_template={"template": words, "params": {}},
            )
        ]

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)
    def _diagnostic_observed_value_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,  # noqa: ARG003
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG003
    ) -> str:
        return cls.observed(result.result) if result and result.result else "--"


# --- Missing completely at random --------------------------------------------------------------


class ExpectMissingnessToBeMcar(InWords, BatchExpectation):
    """Expect cells to be missing completely at random, by Little's or Aleksić's test.

    Little's (1988; `em_impute.little_mcar_test`) compares the means of the rows of each missingness
    pattern with those of a Gaussian fitted to all rows. Aleksić's (2024;
    `em_impute.aleksic_mcar_test`) correlates missingness with the complete columns; it fits no
    model and needs such a column. A failure says that who is missing can be told from the other
    columns: dropping incomplete rows would be biased. Imputation asks for less, so this is rather a
    `warning` than `critical`. A success proves nothing, and in a very large table a departure of no
    importance fails.

    Parameters
    ----------
    column_list : list of str, optional
        Numeric columns; by default every numeric column in which a cell is observed.
    min_p_value : float, default=0.05
        The p-value below which the expectation fails.
    test : {"little", "aleksic"}, default="little"

    Examples
    --------
    >>> import em_impute.checks.expectations
    >>> em_impute.checks.expectations.ExpectMissingnessToBeMcar(
    ...     column_list=["Ozone", "Wind"], severity="warning"
    ... ).expected()
    'cells of Ozone, Wind missing completely at random (p at least 0.05)'
    """

    column_list: list[str] = pydantic.Field(
        default=[], description="Numeric columns; by default all of them."
    )
    min_p_value: float = pydantic.Field(
        default=0.05, ge=0, le=1, description="The p-value below which the expectation fails."
    )
    test: Literal["little", "aleksic"] = pydantic.Field(
        default="little", description="Whose test: little or aleksic."
    )
    row_condition: RowConditionType = None
    condition_parser: ConditionParser | None = None

    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id", "row_condition", "condition_parser")
    metric_dependencies: ClassVar[tuple[str, ...]] = (_MCAR,)
    success_keys: ClassVar[tuple[str, ...]] = ("column_list", "min_p_value", "test")
    args_keys: ClassVar[tuple[str, ...]] = ("column_list", "min_p_value", "test")

    def expected(self) -> str:
        """What must hold, as a sentence without its full stop."""
        columns = ", ".join(self.column_list or ["all numeric columns"])
        return f"cells of {columns} missing completely at random (p at least {self.min_p_value:g})"

    @staticmethod
    def observed(result: Mapping[str, Any]) -> str:
        """What was seen, from the result of a validation."""
        details = result["details"]
        if not details["df"]:
            return "nothing to test, all rows show the same columns"
        seen = (
            "p = {observed_value:.3g}, {details[test]}'s test: {details[statistic]:.4g} on "
            "{details[df]} degrees of freedom"
        ).format_map(result)
        if "patterns" in details:
            seen += f", {details['patterns']} patterns"
        if left_out := details.get("left_out"):
            seen += f" without {left_out} rows that are alone in theirs"
        return seen

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: ExecutionEngine[Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        p_value, details = metrics[_MCAR]
        return {
            "success": p_value is None or p_value >= self.min_p_value,
            "result": {"observed_value": p_value, "details": details},
        }


class _McarTest(TableMetricProvider):
    metric_name = _MCAR
    value_keys = ("column_list", "test")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - GX makes it a class method
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: object,
    ) -> tuple[float | None, dict[str, Any]]:
        table = _table(execution_engine, metric_domain_kwargs)
        names = metric_value_kwargs.get("column_list") or _numeric_columns(table)
        if not names:
            raise CannotJudge("the table has no numeric column in which a cell is observed")
        X = np.column_stack([_numbers(table, name) for name in names])
        made = _aleksic if metric_value_kwargs.get("test") == "aleksic" else _little
        try:
            return made(PatternSummary.from_array(X, names))
        except ValueError as error:
            raise CannotJudge(str(error)) from None


def _little(summary: PatternSummary) -> tuple[float | None, dict[str, Any]]:
    test = little_mcar_test(summary)
    return test.p_value if test.df else None, {
        "test": "Little",
        "statistic": test.statistic,
        "df": test.df,
        "patterns": test.n_patterns,
        "left_out": test.left_out,
        "by_column": dict(test.by_column),
    }


def _aleksic(summary: PatternSummary) -> tuple[float | None, dict[str, Any]]:
    test = aleksic_mcar_test(summary)
    return test.p_value if test.df else None, {
        "test": "Aleksić",
        "statistic": test.statistic,
        "df": test.df,
        "by_column": dict(test.by_column),
        "by_missing": dict(test.by_missing),
    }


# --- Imputed cells against observed ones -------------------------------------------------------


class ExpectImputedDistributionToMatch(InWords, ColumnAggregateExpectation):
    """Expect the imputed cells of a column to be distributed much as its observed ones.

    They need not be: where cells are missing by what other columns say, the imputed ones are
    rightly different, and conditional means spread less than what was observed. A failure asks for
    a look, not for a correction; Stuart et al. (2009) look where means are 2 standard deviations
    apart. So set wide limits, and `severity: warning`.

    Which cells are imputed says a column of the table. A column of true and false (or 0 and 1) is
    about `column` itself. The packed one that jobs add with ``imputation: {mask: true}`` is about
    all imputed columns: `mask_bit` is the place of `column` among them, in the table's order, from
    0. In a job the mask and the bit are found without being named.

    Parameters
    ----------
    column : str
        A numeric column.
    mask_column : str, default="em_impute_mask"
        The column that tells the imputed cells.
    mask_bit : int, optional
        The bit of a packed mask that is about `column`.
    max_ks : float, optional
        The largest Kolmogorov-Smirnov distance of the two distributions, between 0 and 1.
    max_mean_difference : float, optional
        The largest difference of their means, in standard deviations of the observed cells.
    min_cells : int, default=20
        Fewer imputed cells are not judged: the distance of a few is large by chance.

    Examples
    --------
    >>> import em_impute.checks.expectations
    >>> em_impute.checks.expectations.ExpectImputedDistributionToMatch(
    ...     column="Ozone", mask_bit=0, max_ks=0.5, max_mean_difference=1
    ... ).expected()
    'imputed cells of Ozone like observed ones (KS distance at most 0.5, means within 1 sd)'
    """

    mask_column: str = pydantic.Field(
        default=MASK, description="The column that tells the imputed cells."
    )
    mask_bit: int | None = pydantic.Field(
        default=None, ge=0, description="The bit of a packed mask that is about the column."
    )
    max_ks: float | None = pydantic.Field(
        default=None, ge=0, le=1, description="The largest Kolmogorov-Smirnov distance."
    )
    max_mean_difference: float | None = pydantic.Field(
        default=None, ge=0, description="The largest difference of means, in observed sd."
    )
    min_cells: int = pydantic.Field(
        default=20, ge=1, description="Fewer imputed cells are not judged."
    )

    metric_dependencies: ClassVar[tuple[str, ...]] = (_IMPUTED,)
    success_keys: ClassVar[tuple[str, ...]] = (
        "mask_column",
        "mask_bit",
        "max_ks",
        "max_mean_difference",
        "min_cells",
    )
    args_keys: ClassVar[tuple[str, ...]] = ("column", *success_keys)

    @pydantic.root_validator(skip_on_failure=True)
    def _compares_something(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        if values["max_ks"] is None and values["max_mean_difference"] is None:
            raise ValueError("without max_ks or max_mean_difference it would check nothing")
        return values

    def expected(self) -> str:
        """What must hold, as a sentence without its full stop."""
        limits = []
        if self.max_ks is not None:
            limits.append(f"KS distance at most {self.max_ks:g}")
        if self.max_mean_difference is not None:
            limits.append(f"means within {self.max_mean_difference:g} sd")
        return f"imputed cells of {self.column} like observed ones ({', '.join(limits)})"

    @staticmethod
    def observed(result: Mapping[str, Any]) -> str:
        """What was seen, from the result of a validation."""
        cells = "{imputed} imputed and {observed} observed cells".format_map(result["details"])
        seen = result["observed_value"]
        if seen is None:
            return f"too few to judge, {cells}"
        return "KS distance {ks:.2g}, mean {mean_difference:+.2g} sd, ".format_map(seen) + cells

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: ExecutionEngine[Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        found = metrics[_IMPUTED]
        details = {"imputed": found["imputed"], "observed": found["observed"]}
        if found["imputed"] < self.min_cells:
            return {"success": True, "result": {"observed_value": None, "details": details}}
        limits = {"ks": self.max_ks, "mean_difference": self.max_mean_difference}
        return {
            "success": all(
                most is None or abs(found[name]) <= most for name, most in limits.items()
            ),
            "result": {
                "observed_value": {name: found[name] for name in limits},
                "details": details,
            },
        }


class _ImputedAgainstObserved(TableMetricProvider):
    metric_name = _IMPUTED
    domain_keys = (*TableMetricProvider.domain_keys, "column")
    value_keys = ("mask_column", "mask_bit")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - GX makes it a class method
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: object,
    ) -> dict[str, Any]:
        name = metric_domain_kwargs["column"]
        table = _table(execution_engine, metric_domain_kwargs)
        cells = _numbers(table, name)
        mask = _mask(table, **metric_value_kwargs)
        shown = ~np.isnan(cells)
        imputed, observed = cells[mask & shown], cells[~mask & shown]
        counts = {"imputed": len(imputed), "observed": len(observed)}
        if not len(imputed):
            return counts
        if not len(observed) or np.ptp(observed) == 0.0:
            raise CannotJudge(f"the observed cells of {name} have no spread to compare with")
        return {
            **counts,
            "ks": float(ks_2samp(imputed, observed, method="asymp").statistic),
            "mean_difference": float((imputed.mean() - observed.mean()) / observed.std()),
        }


# --- Columns of a table in pandas --------------------------------------------------------------


def _table(engine: PandasExecutionEngine, domain: dict[str, Any]) -> pd.DataFrame:
    """The rows that an expectation is about."""
    rows_only = {key: value for key, value in domain.items() if key != "column"}
    frame, _, _ = engine.get_compute_domain(rows_only, domain_type=MetricDomainTypes.TABLE)
    return frame


def _read(column: pd.Series[Any]) -> NDArray[np.float64]:
    """The cells of a column of numbers, NaN where missing; those of booleans are none here.

    Raises
    ------
    NotNumbers, NotExact
    """
    if pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        raise NotNumbers(str(column.dtype))
    [cells], _ = columns_of(column.to_frame())
    return numbers_of(cells)[0].astype(np.float64)


def _numeric_columns(table: pd.DataFrame) -> list[Any]:
    """Names of the columns of numbers that show any."""
    found = []
    for name in table:
        with suppress(NotNumbers, NotExact):
            if not np.isnan(_read(table[name])).all():
                found.append(name)
    return found


def _column(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in table:
        raise CannotJudge(f"the table has no column {name}")
    return table[name]


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column's cells, NaN where missing."""
    column = _column(table, name)
    try:
        cells = _read(column)
    except NotNumbers:
        raise CannotJudge(f"{name} must be a column of numbers, not of {column.dtype}") from None
    except NotExact:
        raise CannotJudge(f"{name} holds whole numbers beyond 2**53") from None
    if np.isinf(cells).any():
        raise CannotJudge(f"{name} has infinite cells; mend them or make them missing")
    return cells


def _mask(table: pd.DataFrame, mask_column: str, mask_bit: int | None) -> NDArray[np.bool_]:
    """Which cells are imputed."""
    mask = _column(table, mask_column)
    if mask.isna().any():
        raise CannotJudge(f"{mask_column} must say for every row whether it is imputed")
    if mask_bit is None:
        if not mask.isin([0, 1]).all():
            raise CannotJudge(
                f"{mask_column} must be true or false (or 1 or 0); for a packed mask, set mask_bit "
                "to the bit of the column"
            )
        return mask.to_numpy(np.bool_)
    if pd.api.types.is_integer_dtype(mask) and mask_bit < 63:
        return (mask.to_numpy(np.int64) >> mask_bit & 1).astype(np.bool_)
    if (
        mask.map(lambda word: isinstance(word, bytes)).all()
        and mask.str.len().gt(mask_bit // 8).all()
    ):
        return np.array([word[mask_bit // 8] >> mask_bit % 8 & 1 for word in mask], dtype=np.bool_)
    raise CannotJudge(f"{mask_column} is not a packed mask with a bit {mask_bit}")
