"""Imputed cells that are shifted by so many standard deviations of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.delta import shifts

NAMES = ("age", "income", "rent")
SD = np.array([10.0, 2.0, 0.5])
MODEL = GaussianModel(
    np.array([40.0, 3.0, 1.0]),
    SD[:, None] * np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.7], [0.2, 0.7, 1.0]]) * SD,
    NAMES,
)


def holed(seed: int, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = MODEL.mean + rng.normal(size=(n, 3)) * SD
    X[rng.random(X.shape) < 0.4] = np.nan
    return X


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    delta=st.dictionaries(st.sampled_from(NAMES), st.floats(-5, 5)),
    draws=st.booleans(),
)
def test_missing_cells_of_the_columns_it_names_move_and_nothing_else(
    seed: int, delta: dict[str, float], draws: bool
) -> None:
    X = holed(seed)
    plain, shifted = (
        MODEL.draw(X, seed=3, delta=by) if draws else MODEL.impute(X, delta=by)
        for by in (None, delta)
    )
    for j, name in enumerate(NAMES):
        missing = np.isnan(X[:, j])
        assert shifted[~missing, j].tobytes() == X[~missing, j].tobytes()
        moved = plain[missing, j] + delta.get(name, 0.0) * SD[j]
        np.testing.assert_array_equal(shifted[missing, j], moved)


def test_the_columns_of_a_frame_are_found_by_name() -> None:
    frame = pd.DataFrame(holed(1), columns=NAMES)
    turned = frame[["rent", "age", "income"]]
    expected = MODEL.impute(frame, delta={"income": -0.2})
    np.testing.assert_array_equal(
        MODEL.impute(turned, delta={"income": -0.2}), expected[:, [2, 0, 1]]
    )


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        (
            {"incom": -0.2},
            "delta names 'incom', which the model does not have; it has 'age', 'income' and "
            "'rent'.",
        ),
        (
            {"income": float("nan")},
            "delta must be a finite number of standard deviations, got nan for 'income'.",
        ),
        (
            {"income": float("inf")},
            "delta must be a finite number of standard deviations, got inf for 'income'.",
        ),
        (
            {"income": "low"},
            "delta must be a finite number of standard deviations, got 'low' for 'income'.",
        ),
        (
            {"income": True},
            "delta must be a finite number of standard deviations, got True for 'income'.",
        ),
        (
            -0.2,
            "delta must name columns with a number of standard deviations each, as in "
            "{'income': -0.2}, got -0.2.",
        ),
    ],
)
def test_what_is_no_delta_is_refused(delta: Any, message: str) -> None:
    for attempt in (
        lambda: MODEL.impute(holed(1), delta=delta),
        lambda: MODEL.draw(holed(1), seed=1, delta=delta),
    ):
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole message is compared
            attempt()
        assert str(refused.value) == message


def test_shifts_are_in_the_columns_units() -> None:
    delta: Mapping[str, float] = {"rent": -2, "age": 0.5}
    assert shifts(delta, NAMES, SD).tolist() == [5.0, 0.0, -1.0]
