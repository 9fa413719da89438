"""Families of distributions beside the one Gaussian: rows with weights, by the same E-step.

In the order in which data go through them:

    rows          a table's rows by missingness pattern, and how its columns are standardised
    mixture       `fit_mixture`: several Gaussians, their number, starts and prior
      partition   where they start
      climb       the loop of EM
      components  their parameters, and the M-step
      e_step      responsibilities and moments
      densities   its compiled loops
    model         `MixtureModel`: which component a row is of, and what its missing cells are
      mixed       several normals for a cell: their moments, and their score
"""

from em_impute.gaussian.families.climb import Options
from em_impute.gaussian.families.components import KINDS, Components, Kind
from em_impute.gaussian.families.mixture import MixtureFit, fit_mixture
from em_impute.gaussian.families.model import MixtureModel
from em_impute.gaussian.families.rows import Scaling

__all__ = [
    "KINDS",
    "Components",
    "Kind",
    "MixtureFit",
    "MixtureModel",
    "Options",
    "Scaling",
    "fit_mixture",
]
