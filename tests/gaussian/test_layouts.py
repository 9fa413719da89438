"""However a table lies in memory, everything that is made of it has the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from holed_tables import factor_table
from numpy.typing import NDArray

from em_impute import EMImputer, PatternSummary, fit_gaussian
from em_impute.gaussian import model as models
from em_impute.gaussian import patterns

Floats = NDArray[np.float64]


def spread_out(X: Floats) -> Floats:
    """`X` as every second row and column of a larger array."""
    wide = np.full((2 * X.shape[0], 2 * X.shape[1]), 7.0)
    wide[::2, ::2] = X
    return wide[::2, ::2]


ARRAYS: dict[str, Callable[[Floats], Floats]] = {
    "fortran": np.asfortranarray,
    "sliced": spread_out,
    "backwards": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "read only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
    "other byte order": lambda X: X.astype(">f8"),
}
FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "one block": lambda frame: pd.DataFrame(
        np.asfortranarray(frame.to_numpy()), None, frame.columns
    ),
    "columns": lambda frame: pd.DataFrame({name: frame[name].copy() for name in frame}),
    "Float64": lambda frame: frame.astype("Float64"),
    "arrow": lambda frame: frame.astype("double[pyarrow]"),
    "polars": pl.from_pandas,
}


def holed() -> Floats:
    """Rows of long patterns and of short ones."""
    return factor_table(6000, 7, missing=0.15, seed=25)


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of some thousand rows is read in several chunks."""
    monkeypatch.setattr(patterns, "CHUNK_ROWS", 1700)


@pytest.mark.parametrize("layout", ARRAYS)
def test_an_array_of_any_layout_gives_the_same_bits(layout: str) -> None:
    X = holed()
    moved = ARRAYS[layout](X)
    np.testing.assert_array_equal(moved, X)
    one, other = fit_gaussian(X), fit_gaussian(moved)
    assert other.model.mean.tobytes() == one.model.mean.tobytes()
    assert other.model.covariance.tobytes() == one.model.covariance.tobytes()
    assert other.loglik == one.loglik
    model = one.model
    assert model.impute(moved).tobytes() == model.impute(X).tobytes()
    assert model.draw(moved, seed=3).tobytes() == model.draw(X, seed=3).tobytes()
    assert model.conditional(moved).sd.tobytes() == model.conditional(X).sd.tobytes()
    assert EMImputer().fit_transform(moved).tobytes() == EMImputer().fit_transform(X).tobytes()


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_of_any_kind_gives_the_bits_of_an_array(kind: str) -> None:
    X = holed()
    frame = FRAMES[kind](pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])]))
    expected = EMImputer().fit_transform(X)
    filled = EMImputer().fit_transform(frame)
    assert np.ascontiguousarray(np.asarray(filled, dtype=float)).tobytes() == expected.tobytes()


def test_a_column_that_is_not_modelled_changes_no_bits() -> None:
    X = holed()
    more = np.insert(X, [2, 5], [[np.nan, 3.0]], axis=1)
    with pytest.warns(UserWarning, match="without any observed cell"):
        filled = EMImputer().fit_transform(np.asfortranarray(more))
    expected = EMImputer().fit_transform(np.insert(X, 5, 3.0, axis=1))
    assert filled.tobytes() == expected.tobytes()


@pytest.mark.parametrize("layout", ARRAYS)
def test_rows_are_brought_together_before_they_are_gathered(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each gathering of some rows copies the whole chunk, and a fit takes minutes."""
    X, seen = ARRAYS[layout](holed()), []
    condensed = patterns.Condensed.of

    def note(chunk: Floats, shift: Floats) -> Any:
        seen.append(chunk.flags.c_contiguous)
        return condensed(chunk, shift)

    monkeypatch.setattr(patterns.Condensed, "of", note)
    PatternSummary.from_array(X)
    assert seen == [True] * 4
    conditional = models.conditional

    def note_too(holes: Any, *parameters: Floats) -> Any:
        seen.append(holes.X.flags.c_contiguous)
        return conditional(holes, *parameters)

    monkeypatch.setattr(models, "conditional", note_too)
    fit_gaussian(X).model.impute(X)
    assert all(seen)
    assert len(seen) == 9
