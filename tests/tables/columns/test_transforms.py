"""Transforms: their domains, there and back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from em_impute.job import Logit
from em_impute.tables.columns.misfits import Range
from em_impute.tables.columns.transforms import transform_of


@pytest.mark.parametrize("option", [None, "log", "cbrt", Logit(logit=(-1, 3))], ids=str)
def test_another_process_has_the_same_transform(option: str | Logit | None) -> None:
    """As workers of a cluster do: the identity is told by being the one that there is."""
    transform = transform_of(option)
    there = pickle.loads(pickle.dumps(transform))
    assert (there is transform) == (not isinstance(option, Logit))
    y = np.linspace(-3.0, 3.0, 7)
    assert there.inverse(y).tobytes() == transform.inverse(y).tobytes()
    assert (there.name, there.low, there.high) == (transform.name, transform.low, transform.high)


@pytest.mark.parametrize(
    ("option", "inside", "outside"),
    [
        ("log", [1e-300, 1.0, 1e300], [0.0, -1.0]),
        ("log1p", [-0.999, 0.0, 1e300], [-1.0]),
        ("sqrt", [0.0, 4.0], [-1e-9]),
        ("cbrt", [-8.0, 0.0, 27.0], []),
        (Logit(logit=(0, 100)), [1e-9, 50.0, 99.0], [0.0, 100.0, 101.0]),
    ],
    ids=str,
)
def test_transforms_and_their_domains(
    option: str | Logit, inside: list[float], outside: list[float]
) -> None:
    transform = transform_of(option)
    x = np.array(inside)
    np.testing.assert_allclose(transform.inverse(transform.forward(x)), x, rtol=1e-11, atol=1e-14)
    domain = Range("x", "", transform.low, transform.high, transform.closed, stop=True)
    assert not domain.outside(np.array([*inside, np.nan])).any()
    assert domain.outside(np.array(outside)).all()
