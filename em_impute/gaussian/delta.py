"""Delta adjustment: imputed cells that lie apart from where the model puts them.

A model that is fitted to what is observed cannot tell whether hidden cells are like it. Under a
pattern-mixture model with sensitivity parameter delta (Rubin 1987; van Buuren, Boshuizen & Knook
1999) those of column j are distributed as the model says, but for a shift of ``delta_j sd_j``, with
sd_j the standard deviation that the model has for all rows of the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real

import numpy as np

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.table import listed


def shifts(delta: Mapping[str, float], columns: Sequence[str], sd: Floats) -> Floats:
    """How far the imputed cells of each column are shifted, in its units.

    Parameters
    ----------
    delta : mapping of str to float
        In standard deviations, by column; columns that it does not name are not shifted.
    columns : sequence of str
    sd : ndarray of shape (n_columns,)

    Returns
    -------
    ndarray of shape (n_columns,)

    Raises
    ------
    ValueError
        As `require_delta` does.
    """
    require_delta(delta, columns)
    return np.array([delta.get(name, 0.0) for name in columns]) * sd


def require_delta(delta: object, columns: Sequence[str]) -> None:
    """Raise an error if `delta` is no mapping of some of these columns to finite numbers."""
    if not isinstance(delta, Mapping):
        raise ValueError(
            "delta must name columns with a number of standard deviations each, as in "
            f"{{'income': -0.2}}, got {delta!r}."
        )
    if unknown := [str(name) for name in delta if name not in columns]:
        raise ValueError(
            f"delta names {listed(unknown)}, which the model does not have; it has "
            f"{listed(columns)}."
        )
    for name, number in delta.items():
        if not isinstance(number, Real) or isinstance(number, bool) or not isfinite(number):
            raise ValueError(
                f"delta must be a finite number of standard deviations, got {number!r} for "
                f"{name!r}."
            )
