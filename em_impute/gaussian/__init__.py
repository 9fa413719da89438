"""The engine: a multivariate Gaussian estimated by EM under missingness. Arrays in, arrays out.

It needs NumPy, SciPy, Numba and threadpoolctl, and nothing else of em_impute. In the order in which
data go through it:

    table, cells                    what users hand in, as floats with NaN where missing
    patterns                        `PatternSummary`: all that EM needs from the rows
      distinct, condense, stored    its patterns, its weighted rows, its file
    fit                             `fit_gaussian`
      em                            the loop: evaluate, propose, accept or fall back, stop
        e_step, kernels             expected moments, and their compiled loops
        acceleration, scoring       methods that propose where to go next
        stopping                    when it ends, and how
        parameters                  mean and covariance, as points and on the users' scale
      starts, prior                 several starts; the prior that is found by itself
      completion, relations         columns that no row shows together, or that determine each other
      information                   how much of it went missing with the cells
    result                          `EMResult`: what a fit returns
    model                           `GaussianModel`: fills and draws
      conditional, draws, keys      means, noise, and what identifies a row
    truncated                       the normal between two bounds
    little                          Little's test, of cells missing completely at random
    arrays, linalg, threads         beneath all of them

Words that are used for one thing each:

    pattern      which columns a row shows
    summary      the rows of a table, condensed by pattern (`PatternSummary`)
    parameters   a mean and a covariance of standardised columns; a model has those of the users'
    position     the same as one vector without constraints, in which the methods move
    image        what one step of EM makes of parameters
    point        parameters with their image and their likelihood (`Point`)
    iteration    what is reported of the evaluation of one point (`Iteration`)
    ending       where one climb of the loop stopped (`Ending`)
    fit          climbs with the prior and from the starts that were asked for
    result       what a fit returns: the model, and how it was reached (`EMResult`)
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
