"""A mixture's components, measured on the model and on a sample of the rows."""

from __future__ import annotations

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families import MixtureFit
from em_impute.gaussian.filling import FittedModel
from em_impute.reporting.components import (
    Components,
    Directions,
    describe_components,
    describe_directions,
    separating_plane,
)
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.sample import sample_rows
from em_impute.tables.snapshot import Snapshot, read_batches

SHOWN_ROWS = 10_000


def measure_components(
    snapshot: Snapshot | None, roles: Roles | None, result: FittedModel | None
) -> Components | None:
    """Return what the report says of a mixture; None of another model.

    Parameters
    ----------
    snapshot : Snapshot or None
    roles : Roles or None
    result : FittedModel or None
    """
    if snapshot is None or roles is None or not isinstance(result, MixtureFit):
        return None
    numeric = {
        name: encoding
        for name in roles.model_columns
        if isinstance(encoding := roles.encoding(name), Numeric)
    }

    def own_moments(dimension: str, means: Floats, sds: Floats) -> tuple[Floats, Floats]:
        if dimension in numeric:
            return numeric[dimension].own_moments(means, sds)
        return means, sds

    return describe_components(result, own_moments, _directions(snapshot, roles, result))


def _directions(snapshot: Snapshot, roles: Roles, fit: MixtureFit) -> Directions | None:
    plane = separating_plane(fit.model)
    if plane is None:
        return None
    batches = read_batches(snapshot.path, roles.model_columns)
    sample = sample_rows(batches, snapshot.at_hand.rows, SHOWN_ROWS)
    rows = np.concatenate([roles.encode(batch) for batch in sample])
    shown = rows[~np.isnan(rows).all(axis=1)]
    return describe_directions(fit.model, plane, fit.model.impute(shown))
