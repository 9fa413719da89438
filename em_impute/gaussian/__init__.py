"""The engine: a multivariate Gaussian estimated by EM under missingness. Arrays in, arrays out.

It needs NumPy, SciPy, Numba and threadpoolctl, and nothing else of em_impute; pandas for tables of
estimates, and ArviZ for chains, when asked for them. In the order in which data go through it:

    table, cells                    what users hand in, as floats with NaN where missing
    patterns                        `PatternSummary`: all that EM needs from the rows
      distinct, condense, stored    its patterns, its weighted rows, its file
      observed                      the part of it that is always small
      divided                       one in blocks that lie elsewhere (`DividedSummary`)
    fit                             `fit_gaussian`
      em                            the loop: evaluate, propose, accept or fall back, stop
        e_step, kernels, blocks     expected moments, and their compiled loops
        acceleration, scoring       methods that propose where to go next
        stopping                    when it ends, and how
        parameters                  mean and covariance, as points and on the users' scale
      starts, prior                 several starts; the prior that is found by itself
      completion, relations         columns that no row shows together, or that determine each other
      information                   how much of it went missing with the cells
    result, status                  `EMResult`: what a fit returns; how it goes on and ends
      estimates, inference          standard errors, intervals, regressions; the information
    posterior                       `Mixing`: mean and covariance drawn from it, and how many times
      augmentation                  the chains that do it
    model                           `GaussianModel`: fills and draws
      holes, conditional, draws     missing cells by pattern, their means, noise about these
      keys                          what identifies a row
      delta                         hidden cells that are unlike the observed ones
    truncated                       the normal between two bounds
    families                        beside the one Gaussian: mixtures of several
      filling                       what models of all families can do for who fills a table
    model_file                      the JSON file of a model
    little, aleksic                 tests of cells missing completely at random
    arrays, linalg, threads, triangle  beneath all of them

Words that are used for one thing each:

    pattern      which columns a row shows
    summary      the rows of a table, condensed by pattern (`PatternSummary`)
    mass         the sum of the weights of some rows; their count, unless rows have weights
    parameters   a mean and a covariance of standardised columns; a model has those of the users'
    position     the same as one vector without constraints, in which the methods move
    image        what one step of EM makes of parameters
    point        parameters with their image and their likelihood (`Point`)
    iteration    what is reported of the evaluation of one point (`Iteration`)
    ending       where one climb of the loop stopped (`Ending`)
    fit          climbs with the prior and from the starts that were asked for
    result       what a fit returns: the model, and how it was reached (`EMResult`)
"""

from em_impute.gaussian.aleksic import AleksicTest, aleksic_mcar_test
from em_impute.gaussian.conditional import Conditional
from em_impute.gaussian.divided import DividedSummary
from em_impute.gaussian.estimates import Regression
from em_impute.gaussian.fit import fit_gaussian
from em_impute.gaussian.information import MissingInformation
from em_impute.gaussian.little import LittleTest, little_mcar_test
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.observed import Observed
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.posterior import Mixing
from em_impute.gaussian.result import EMResult, Missingness, Starts
from em_impute.gaussian.status import ConvergenceWarning, Iteration, Status

__all__ = [
    "AleksicTest",
    "Conditional",
    "ConvergenceWarning",
    "DividedSummary",
    "EMResult",
    "GaussianModel",
    "Iteration",
    "LittleTest",
    "MissingInformation",
    "Missingness",
    "Mixing",
    "Observed",
    "PatternSummary",
    "Regression",
    "Starts",
    "Status",
    "aleksic_mcar_test",
    "fit_gaussian",
    "little_mcar_test",
]
