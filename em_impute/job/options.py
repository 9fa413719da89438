"""`model`, `imputation`, `self_test`, `report`, `keep_runs`: how a table is filled and tested."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from math import floor
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from em_impute.job.database import Database, TableName
from em_impute.job.types import Count, Number, Section, for_mapping

MASK = "em_impute_mask"
"""The column that tells the imputed cells of each row."""
IMPUTATION = "imputation"
"""The column that tells which of several imputations a row is of, from 1 on."""
CLUSTER, PROBABILITY = CLUSTERS = "em_impute_cluster", "em_impute_cluster_probability"
"""The columns that tell the most probable component of each row, from 0 on, and how probable."""
SCORE = "em_impute_factor_{}"
"""The columns that tell the scores of each row, by the number of the factor, from 1 on."""
# How many imputations there are where a job does not say, and where standard errors decide.
DRAWS, MOST_NEEDED_DRAWS = 20, 201
# So many versions of a table that a larger number is a slip.
MOST_DRAWS = 1000
# More cells than this share cannot be hidden from a fit.
_LARGEST_REFIT_SHARE = 0.5
# A ratio of errors of so many cells is known to some per cent; with many columns fewer will do, as
# a test cell takes longer there.
_ENOUGH_CELLS, _ENOUGH_IN_ALL = 500, 5_000


def _prior_rows(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError("expected auto, or a number of pseudo-rows that is 0 or more")


PriorRows = Annotated[Literal["auto"] | Annotated[Number, Field(ge=0)], WrapValidator(_prior_rows)]


def _components(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(f"expected auto, or a whole number from 1 to {MOST_COMPONENTS}")


MOST_COMPONENTS = 100
ComponentCount = Annotated[
    Literal["auto"] | Annotated[Count, Field(ge=1, le=MOST_COMPONENTS)], WrapValidator(_components)
]
# EM for a mixture begins from so many points where a job does not say.
MIXTURE_STARTS = 5
Family = Literal["gaussian", "mixture", "factor"]
# What a model of each is in words, and of which families the options are that are not of all.
FAMILIES: Mapping[Family, str] = MappingProxyType(
    {"gaussian": "Gaussian", "mixture": "mixture", "factor": "factor model"}
)
_OPTIONS_OF: Mapping[str, tuple[Family, ...]] = MappingProxyType(
    {
        "components": ("mixture", "factor"),
        "covariance_type": ("mixture",),
        "noise": ("factor",),
        "rotation": ("factor",),
        "min_noise": ("factor",),
        "n_starts": ("gaussian", "mixture"),
    }
)


class ModelOptions(Section):
    """Which model is fitted, and how."""

    family: Family = Field(
        "gaussian",
        description="gaussian: one mean and covariance for all rows; mixture: several Gaussians, "
        "for tables of groups or bent clouds; factor: one Gaussian by few factors, for tables of "
        "many columns.",
    )
    components: ComponentCount | None = Field(
        None,
        description="How many Gaussians a mixture has, or factors a factor model; auto (default): "
        "as many as the best BIC wants, counted up from 1, of a mixture to 9 at most.",
        examples=["auto", 3],
    )
    covariance_type: Literal["full", "tied", "diag", "spherical"] | None = Field(
        None,
        description="What the covariances of a mixture have in common: full (default): nothing; "
        "tied: all are one; diag: columns are independent within a component; spherical: and have "
        "one variance.",
    )
    noise: Literal["diagonal", "isotropic"] | None = Field(
        None,
        description="What the factors of a factor model leave: diagonal (default): a variance of "
        "each column; isotropic: one of all, which is probabilistic PCA.",
    )
    rotation: Literal["varimax"] | None = Field(
        None,
        description="How factors are turned: varimax: each column loads on few; default: scores "
        "are uncorrelated given a whole row. Cells are filled alike.",
        examples=["varimax"],
    )
    min_noise: Number | None = Field(
        None,
        gt=0,
        lt=1,
        description="The share of a column's variance that a factor model leaves to its noise at "
        "least; default: 1e-5, and where isotropic 1e-6.",
        examples=[0.001],
    )
    tol: Number = Field(
        1e-6,
        gt=0,
        lt=1,
        description="Estimated distance to the optimum, in sd, at which EM stops; of a mixture and "
        "of a factor model the rise of the log-likelihood that is left for each row.",
    )
    max_iter: Count = Field(1000, ge=1, description="Most iterations of EM.")
    prior: PriorRows = Field(
        "auto", description="Pseudo-rows of the ridge prior; auto: none unless the data need it."
    )
    acceleration: Literal["anderson", "squarem", "none"] = Field(
        "anderson", description="How EM is sped up; the answer is the same."
    )
    time_limit: Number | None = Field(
        None, gt=0, description="Most seconds that the fit may take.", examples=[600]
    )
    n_starts: Count | None = Field(
        None,
        ge=1,
        le=100,
        description="From how many points EM is started, to see whether all lead to one maximum, "
        f"or of a mixture to find the highest; default: 1, of a mixture {MIXTURE_STARTS}.",
        examples=[5],
    )
    min_group_rows: Count | None = Field(
        None,
        ge=2,
        description="Fewest rows of a group that gets a model of its own, with columns.group_by; "
        "default: 50, or 5 for each column of the model if that is more; of a factor model 50.",
        examples=[100],
    )

    @property
    def is_mixture(self) -> bool:
        """Whether it is of several Gaussians."""
        return self.family == "mixture"

    @property
    def is_factor(self) -> bool:
        """Whether it is of few factors behind the columns."""
        return self.family == "factor"

    @property
    def is_of_rows(self) -> bool:
        """Whether it is fitted to the rows themselves, of which no sums determine it."""
        return self.family != "gaussian"

    @property
    def starts(self) -> int:
        """From how many points EM is started."""
        return self.n_starts or (MIXTURE_STARTS if self.is_mixture else 1)

    @model_validator(mode="after")
    def _options_are_the_familys(self) -> Self:
        for name, families in _OPTIONS_OF.items():
            if getattr(self, name) is not None and self.family not in families:
                theirs = " or ".join(f"a {FAMILIES[family]}" for family in families)
                to_add = " or ".join(f"`family: {family}`" for family in families)
                raise ValueError(f"{name} is of {theirs}: add {to_add}, or remove it")
        if self.is_of_rows and self.acceleration != "anderson":
            raise ValueError(
                f"a {FAMILIES[self.family]} is always sped up by anderson; remove acceleration"
            )
        if self.is_factor and self.prior != "auto":
            raise ValueError("a factor model has no prior; remove it, or set min_noise")
        return self


def _draws(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        f"expected auto, or the number of imputations, a whole number from 2 to {MOST_DRAWS:,}"
    )


Draws = Annotated[
    Literal["auto"] | Annotated[Count, Field(ge=2, le=MOST_DRAWS)], WrapValidator(_draws)
]

# More standard deviations than these were meant as units of the column.
_LARGEST_DELTA = 10.0
Delta = Annotated[Number, Field(ge=-_LARGEST_DELTA, le=_LARGEST_DELTA)]


class Imputation(Section):
    """What a missing cell is filled with."""

    method: Literal["mean", "draw", "multiple"] = Field(
        "mean",
        description="mean: the expected value given what the row does show; draw: a draw from "
        "that distribution; multiple: several draws, each with a model of its own, told by the "
        "column imputation.",
    )
    draws: Draws | None = Field(
        None,
        description="How many imputations, with `method: multiple`; auto: as many as keep "
        "standard errors within 5% of what more would give; default: 20.",
        examples=[20],
    )
    posterior: Literal["augmentation", "bootstrap", "ml"] | None = Field(
        None,
        description="Where the models of several imputations come from: augmentation (default): "
        "drawn from their posterior; bootstrap: fitted to rows drawn with replacement; ml: all are "
        "the estimate, which has pooling rules of its own.",
    )
    max_sweeps: Count | None = Field(
        None,
        ge=1,
        description="Most sweeps of a chain that draws the models; default: 20,000.",
        examples=[20_000],
    )
    seed: Count = Field(
        1, ge=0, description="What the draws begin from: the same seed gives the same draws."
    )
    mask: bool = Field(
        False,
        strict=True,
        description="Add the column em_impute_mask, which tells the imputed cells of each row.",
    )
    delta: dict[str, Delta] = Field(
        {},
        description="By how many of its standard deviations every imputed cell of a column is "
        "shifted, to see what follows if missing cells differ from observed ones.",
        examples=[{"income": -0.2}],
    )

    @property
    def is_multiple(self) -> bool:
        """Whether the filled table has each row several times."""
        return self.method == "multiple"

    @property
    def most_draws(self) -> int:
        """How many versions of each row the filled table has at most."""
        if not self.is_multiple:
            return 1
        return MOST_NEEDED_DRAWS if self.draws == "auto" else self.draws or DRAWS

    @property
    def is_drawn(self) -> bool:
        """Whether cells are filled with draws."""
        return self.method != "mean"

    @model_validator(mode="after")
    def _several_are_asked_for(self) -> Self:
        of_several = {
            "draws": self.draws,
            "posterior": self.posterior,
            "max_sweeps": self.max_sweeps,
        }
        asked_for = [name for name, value in of_several.items() if value is not None]
        if asked_for and not self.is_multiple:
            raise ValueError(
                f"{asked_for[0]} is about several imputations: add `method: multiple`, or remove it"
            )
        return self


NUMBER_LIMITS = ("max_rmse_ratio", "min_coverage_95", "max_pit_distance")
LEVEL_LIMITS = ("min_accuracy", "min_accuracy_gain")
# A limit of the self-test is a number, or a number for each of some columns.
LIMIT_KINDS = FOR_ALL, BY_COLUMN = "for all", "by column"


def _for_all_or_by_column(value: object) -> str:
    return BY_COLUMN if isinstance(value, dict) else FOR_ALL


def _some_columns(limits: dict[str, float]) -> dict[str, float]:
    if not limits:
        raise ValueError("expected at least one column with its limit; leave the key out for none")
    return limits


_OneLimit = TypeVar("_OneLimit")
Limit = Annotated[
    Annotated[_OneLimit, Tag(FOR_ALL)]
    | Annotated[
        dict[str, _OneLimit],
        AfterValidator(_some_columns),
        Field(json_schema_extra={"minProperties": 1}),
        Tag(BY_COLUMN),
    ],
    Discriminator(_for_all_or_by_column),
]
Ratio = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(gt=0, lt=1)]
SelfTestMethod = Literal["off", "fill", "refit"]


class SelfTestOptions(Section):
    """Which observed cells are hidden to see how well they are filled, and what must come out."""

    method: SelfTestMethod = Field(
        "fill",
        description="fill: the cells are hidden when the table is filled, by the fitted model; "
        "refit: they are hidden before a second fit, which fills them; off: no test.",
    )
    max_share: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        None,
        description="Largest share of a column's observed cells that is hidden; by default 0.02, "
        "of small tables enough for 500 cells, and 5,000 of all columns: all that there are, or a "
        "tenth with refit.",
        examples=[0.02, 1.0],
    )
    max_cells: Count = Field(50_000, ge=10, description="Most cells that are hidden.")
    seed: Count = Field(1, ge=0, description="What the choice of the cells begins from.")
    max_rmse_ratio: Limit[Ratio] | None = Field(
        None,
        description="Limit: the root mean squared error over that of the column's mean.",
        examples=[1.0, {"amount": 0.9}],
    )
    min_coverage_95: Limit[Share] | None = Field(
        None,
        description="Limit: the share of hidden cells that lie in their 95% intervals.",
        examples=[0.9, {"amount": 0.8}],
    )
    max_pit_distance: Limit[Share] | None = Field(
        None,
        description="Limit: how far the distribution of the PIT is from the uniform one.",
        examples=[0.1, {"amount": 0.2}],
    )
    min_accuracy: Limit[Share] | None = Field(
        None,
        description="Limit, of categories: the share of hidden cells whose level is right.",
        examples=[0.7, {"sex": 0.8}],
    )
    min_accuracy_gain: Limit[Annotated[Number, Field(gt=-1, lt=1)]] | None = Field(
        None,
        description="Limit, of categories: that share less that of the most frequent level.",
        examples=[0.0, {"sex": 0.1}],
    )

    @property
    def limits(self) -> dict[str, float | dict[str, float]]:
        """The limits that are set, by their names: for all columns, or by column."""
        named = {name: getattr(self, name) for name in (*NUMBER_LIMITS, *LEVEL_LIMITS)}
        return {name: limit for name, limit in named.items() if limit is not None}

    def most_cells_of(self, observed: int, columns: int) -> int:
        """How many of a column's observed cells are hidden at most, of so many columns each."""
        if self.max_share is not None:
            return floor(self.max_share * observed + 1e-9)
        able = observed // 10 if self.method == "refit" else observed
        return max(observed // 50, min(_ENOUGH_CELLS, _ENOUGH_IN_ALL // columns, able))

    @property
    def has_limits(self) -> bool:
        """Whether its outcome can keep a table from being published."""
        return bool(self.limits)

    @model_validator(mode="after")
    def _can_be_held(self) -> Self:
        if self.method == "off" and self.has_limits:
            raise ValueError(
                "`method: off` tests nothing, so it has no limits; remove one of the two"
            )
        if self.method == "refit" and (self.max_share or 0.0) > _LARGEST_REFIT_SHARE:
            raise ValueError(
                f"with `method: refit` max_share is at most {_LARGEST_REFIT_SHARE:g}, so that the "
                "second fit has cells left; lower it, or test with `method: fill`"
            )
        return self


SelfTest = Annotated[
    SelfTestOptions,
    BeforeValidator(
        partial(
            for_mapping,
            "method",
            get_args(SelfTestMethod),
            "{method: fill, max_rmse_ratio: 1.0, min_coverage_95: 0.9}",
        ),
        json_schema_input_type=SelfTestMethod | SelfTestOptions,
    ),
]


class HistoryTable(Database):
    """The table of a database that has the numbers of all runs, for charts."""

    table: TableName = Field(
        description="The table of the runs, with or without its schema; that of their columns is "
        "beside it, its name with _columns. Both are made if they are missing.",
        examples=["reports.imputation"],
    )


class ReportOptions(Section):
    """What the report watches, and where else its numbers go."""

    drift: Number | None = Field(
        0.25,
        gt=0,
        description="Change since the run before, in sd for means, from which on the "
        "report warns of it; null: never.",
        examples=[0.25],
    )
    history_table: HistoryTable | None = Field(
        None,
        description="A table of a database to which each run adds its numbers, for charts; "
        "default: none.",
        examples=[{"url": {"env": "WAREHOUSE_URL"}, "table": "reports.imputation"}],
    )


class KeptRuns(Section):
    """How long the folders of runs are kept: what is beyond either limit is removed."""

    count: Count | None = Field(None, ge=1, description="Most runs; default: all.", examples=[400])
    days: Count | None = Field(
        None, ge=1, description="Days since a run began; default: for ever.", examples=[365]
    )
