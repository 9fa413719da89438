"""Varimax: factors turned so that each column loads on few of them (Kaiser 1958)."""

from __future__ import annotations

import numpy as np

from em_impute.gaussian.arrays import Floats

# A turn that raises the criterion by a smaller share than this is the last one.
TOLERANCE = 1e-9
MOST_TURNS = 500


def varimax(loadings: Floats) -> Floats:
    """The rotation (k, k) that maximises the variance of the squared loadings (p, k).

    It is the sum over factors of ``mean l^4 - (mean l^2)^2``, raised by one singular value
    decomposition a turn.
    """
    rotation, before = np.eye(loadings.shape[1]), 0.0
    for _ in range(MOST_TURNS):
        turned = loadings @ rotation
        slopes = turned**3 - turned * np.mean(turned**2, axis=0)
        left, singular, right = np.linalg.svd(loadings.T @ slopes)
        rotation = left @ right
        if singular.sum() <= before * (1.0 + TOLERANCE):
            break
        before = singular.sum()
    return rotation
