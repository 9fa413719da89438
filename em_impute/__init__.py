"""em_impute: fill the holes in tables, on a schedule, with the statistics done properly.

The path of the data, from a YAML job (`em_impute.flows.order`):

    load          source -> snapshot, roles of its columns            tables.sources, tables.columns
    check input   Great Expectations and preconditions                checks
    fit           snapshot -> PatternSummary -> EM -> GaussianModel   tables.summarise, gaussian
    fill          snapshot + model -> staged table and cell ledger    tables.fill
    self-test     observed cells hidden, filled and scored            self_test
    check output  Great Expectations and invariants                   checks
    publish       staged -> target, atomically                        tables.targets
    report        numbers -> figures -> pages                         runs.measure, reporting

In plain Python `EMImputer` is a scikit-learn transformer, and `read_job(path).imputer()` that of a
job; `PatternSummary` and `fit_gaussian` are
the engine beneath it; `multiply_impute` fills a table several times, and `pool` combines what is
found in each; `summarise_batches` and `fill_batches` do their part of the work where the rows are,
in Spark or Ray, `summarise_in_database` and `fill_in_database` all of it in a database;
`plot_missingness`, `plot_imputed` and `plot_trace` draw in notebooks. `EMMixture` is scikit-learn's
`GaussianMixture` for rows with missing cells, `EMFactor` its `FactorAnalysis` and `PCA`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from em_impute.batches import fill_batches, summarise_batches
    from em_impute.estimator import EMImputer
    from em_impute.factor import EMFactor
    from em_impute.gaussian import (
        ConvergenceWarning,
        EMResult,
        GaussianModel,
        PatternSummary,
        Status,
        aleksic_mcar_test,
        fit_gaussian,
        little_mcar_test,
    )
    from em_impute.in_database import fill_from_run, fill_in_database, summarise_in_database
    from em_impute.job_file import read_job
    from em_impute.mixture import EMMixture
    from em_impute.multiple import MultipleImputation, multiply_impute
    from em_impute.notebook import plot_imputed, plot_missingness, plot_trace
    from em_impute.pooling import pool

__all__ = [
    "ConvergenceWarning",
    "EMFactor",
    "EMImputer",
    "EMMixture",
    "EMResult",
    "GaussianModel",
    "MultipleImputation",
    "PatternSummary",
    "Status",
    "aleksic_mcar_test",
    "fill_batches",
    "fill_from_run",
    "fill_in_database",
    "fit_gaussian",
    "little_mcar_test",
    "multiply_impute",
    "plot_imputed",
    "plot_missingness",
    "plot_trace",
    "pool",
    "read_job",
    "summarise_batches",
    "summarise_in_database",
]


# What these bring along takes up to seconds, which every start of a Prefect server or worker, and
# every `em-impute --help`, would wait for.
_WHERE = {
    "ConvergenceWarning": "gaussian",
    "EMFactor": "factor",
    "EMImputer": "estimator",
    "EMMixture": "mixture",
    "EMResult": "gaussian",
    "GaussianModel": "gaussian",
    "MultipleImputation": "multiple",
    "PatternSummary": "gaussian",
    "Status": "gaussian",
    "aleksic_mcar_test": "gaussian",
    "fill_batches": "batches",
    "fill_from_run": "in_database",
    "fill_in_database": "in_database",
    "fit_gaussian": "gaussian",
    "little_mcar_test": "gaussian",
    "multiply_impute": "multiple",
    "plot_imputed": "notebook",
    "plot_missingness": "notebook",
    "plot_trace": "notebook",
    "pool": "pooling",
    "read_job": "job_file",
    "summarise_batches": "batches",
    "summarise_in_database": "in_database",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("em-impute")
    if name in _WHERE.values():
        return import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), "__version__", *__all__]
