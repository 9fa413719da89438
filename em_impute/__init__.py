"""em_impute: fill the holes in tables, on a schedule, with the statistics done properly.

The path of the data, from a YAML job (`em_impute.flows.impute`):

    load          source -> snapshot, roles of its columns            tables.sources, tables.columns
    check input   Great Expectations and preconditions                checks
    fit           snapshot -> PatternSummary -> EM -> GaussianModel   tables.summarise, gaussian
    fill          snapshot + model -> staged table and cell ledger    tables.fill
    self-test     observed cells hidden, filled and scored            self_test
    check output  Great Expectations and invariants                   checks
    publish       staged -> target, atomically                        tables.targets
    report        numbers -> figures -> pages                         runs.measure, reporting

In plain Python `EMImputer` is a scikit-learn transformer; `PatternSummary` and `fit_gaussian` are
the engine beneath it; `plot_missingness`, `plot_imputed` and `plot_trace` draw in notebooks.
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
    from em_impute.notebook import plot_imputed, plot_missingness, plot_trace

__all__ = [
    "ConvergenceWarning",
    "EMImputer",
    "EMResult",
    "GaussianModel",
    "PatternSummary",
    "Status",
    "fit_gaussian",
    "little_mcar_test",
    "plot_imputed",
    "plot_missingness",
    "plot_trace",
]


def __getattr__(name: str) -> Any:
    # scikit-learn and matplotlib take seconds, which every start of a Prefect server or worker
    # would wait for.
    if name == "EMImputer":
        from em_impute.estimator import EMImputer

        return EMImputer
    if name in ("plot_imputed", "plot_missingness", "plot_trace"):
        from em_impute import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
