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

from em_impute.estimator import EMImputer
from em_impute.gaussian import (
    ConvergenceWarning,
    EMResult,
    GaussianModel,
    PatternSummary,
    Status,
    fit_gaussian,
    little_mcar_test,
)

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
