"""Families of distributions beside the one Gaussian: mixtures of several, and factor models.

A mixture is rows with weights, by the Gaussian's own E-step; a factor model never makes a matrix of
columns x columns. In the order in which data go through them:

    rows          a table's rows by missingness pattern, and how its columns are standardised
    mixture       `fit_mixture`: several Gaussians, their number, starts and prior
      partition   where they start
      climb       the loop of EM
      components  their parameters, and the M-step
      e_step      responsibilities and moments
      densities   its compiled loops
    model         `MixtureModel`: which component a row is of, and what its missing cells are
      mixed       several normals for a cell: their moments, and their score
    factor        `fit_factor`: few factors behind many columns, their number, start and end
      ascent      the loop of EM
      loadings    its parameters, and the M-step
      latent      what rows say of their scores, and the moments
      scores      its compiled loops
      varimax     how factors are turned
    factor_model  `FactorModel`: scores, and missing cells by them
"""

from em_impute.gaussian.families.components import KINDS, Components, Kind
from em_impute.gaussian.families.factor import MIN_NOISE, FactorFit, Noise, fit_factor
from em_impute.gaussian.families.factor_model import FactorModel
from em_impute.gaussian.families.mixture import MixtureFit, fit_mixture
from em_impute.gaussian.families.model import MixtureModel
from em_impute.gaussian.families.rows import Scaling
from em_impute.gaussian.stopping import Options

__all__ = [
    "KINDS",
    "MIN_NOISE",
    "Components",
    "FactorFit",
    "FactorModel",
    "Kind",
    "MixtureFit",
    "MixtureModel",
    "Noise",
    "Options",
    "Scaling",
    "fit_factor",
    "fit_mixture",
]
