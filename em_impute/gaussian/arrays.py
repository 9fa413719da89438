"""The kinds of array that the engine works on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def to_read(array: Floats) -> Floats:
    """An array as compiled loops get what they only read: contiguous, and not to be written to.

    A loop is compiled, which takes seconds, for each layout that its arrays come in; so it is one.
    """
    seen = np.ascontiguousarray(array).view()
    seen.flags.writeable = False
    return seen
