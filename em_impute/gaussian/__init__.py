"""The engine: a multivariate Gaussian estimated by EM under missingness. Arrays in, arrays out.

`PatternSummary` takes in the rows, `fit_gaussian` estimates, the `GaussianModel` in its `EMResult`
fills. NumPy and SciPy only.
"""

from em_impute.gaussian.conditional import Conditional
from em_impute.gaussian.fit import fit_gaussian
from em_impute.gaussian.information import MissingInformation
from em_impute.gaussian.little import LittleTest, little_mcar_test
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.result import (
    ConvergenceWarning,
    EMResult,
    Iteration,
    Missingness,
    Starts,
    Status,
)

__all__ = [
    "Conditional",
    "ConvergenceWarning",
    "EMResult",
    "GaussianModel",
    "Iteration",
    "LittleTest",
    "MissingInformation",
    "Missingness",
    "PatternSummary",
    "Starts",
    "Status",
    "fit_gaussian",
    "little_mcar_test",
]
