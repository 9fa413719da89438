"""The scores of each row of a table by a factor model, as columns of the filled table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from em_impute.gaussian.families.factor_model import FactorModel
from em_impute.tables.columns.roles import Roles
from em_impute.tables.groups import models_of
from em_impute.tables.imputations import Models


def score_columns(batch: pa.RecordBatch, models: Models, roles: Roles) -> list[pa.Array]:
    """The expected scores of each row given its observed cells; 0 where it shows nothing.

    Parameters
    ----------
    batch : RecordBatch
        Of the table as it was read.
    models : Models
        Factor models; in a group factors are those of its own.
    roles : Roles
    """
    X = roles.encode(batch)
    scores = np.zeros((len(X), roles.scores))
    for factor, rows in models_of(batch, models, roles):
        assert isinstance(factor, FactorModel)
        scores[rows], _ = factor.posteriors(X[rows])
    return [pa.array(column) for column in np.ascontiguousarray(scores.T)]
