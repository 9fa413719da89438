"""em_impute: fill the holes in tables, on a schedule, with the statistics done properly.

The path of the data, from a YAML job (`em_impute.flows.impute`):

    load          source -> snapshot                                  tables.sources
    check input   Great Expectations and preconditions                validation
    fit           snapshot -> PatternSummary -> EM -> GaussianModel   tables.summarise, gaussian
    fill          snapshot + model -> staged table and cell ledger    tables.fill
    check output  Great Expectations and invariants                   validation
    publish       staged -> target, atomically                        tables.targets
    report        numbers -> figures -> pages                         reporting

In plain Python `EMImputer` is a scikit-learn transformer; `PatternSummary` and `fit_gaussian` are
the engine beneath it.
"""

from typing import TYPE_CHECKING, Any

from em_impute.gaussian import (
    ConvergenceWarning,
    EMResult,
    GaussianModel,
    PatternSummary,
    Status,
    fit_gaussian,
    little_mcar_test,
)

if TYPE_CHECKING:
    from em_impute.estimator import EMImputer

__all__ = [
    "ConvergenceWarning",
    "EMImputer",
    "EMResult",
    "GaussianModel",
    "PatternSummary",
    "Status",
    "fit_gaussian",
    "little_mcar_test",
]


def __getattr__(name: str) -> Any:
    # scikit-learn takes seconds, which every start of a Prefect server or worker would wait for.
    if name == "EMImputer":
        from em_impute.estimator import EMImputer

        return EMImputer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
