"""The component that each row of a table most probably is of, as columns of the filled table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from em_impute.gaussian.families.model import MixtureModel
from em_impute.tables.columns.roles import Roles
from em_impute.tables.groups import models_of
from em_impute.tables.imputations import Models


def cluster_columns(batch: pa.RecordBatch, models: Models, roles: Roles) -> list[pa.Array]:
    """The most probable component of each row, from 0, the largest first, and its probability.

    They go by the observed cells of a row; one that shows nothing is of the largest component.

    Parameters
    ----------
    batch : RecordBatch
        Of the table as it was read.
    models : Models
        Mixtures; in a group components are those of its own.
    roles : Roles
    """
    X = roles.encode(batch)
    component = np.zeros(len(X), dtype=np.int32)
    probability = np.full(len(X), np.nan)
    for mixture, rows in models_of(batch, models, roles):
        assert isinstance(mixture, MixtureModel)
        responsibilities, _ = mixture.posteriors(X[rows])
        component[rows] = responsibilities.argmax(axis=1)
        probability[rows] = responsibilities.max(axis=1, initial=0.0)
    return [pa.array(component), pa.array(probability)]
