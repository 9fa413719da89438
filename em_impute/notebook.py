"""What a notebook draws of a fit and a table, on matplotlib axes.

The pictures look like those of the report, and are made from the same numbers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from numpy.typing import NDArray

from em_impute.gaussian import EMResult, PatternSummary
from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.cells import NotExact, NotNumbers, numbers_of
from em_impute.gaussian.table import columns_of, default_names, listed
from em_impute.reporting import missingness, style
from em_impute.reporting.distributions import describe_distributions
from em_impute.reporting.fit import describe_fit
from em_impute.reporting.on_axes import draw_distribution, draw_loglik, draw_missingness, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Cells that differ by less than this share of themselves are the same, in a narrower type.
SAME = 2e-3


def plot_trace(result: EMResult, ax: Axes | None = None) -> Axes:
    """Draw the log-likelihood by iteration; steps that were rejected and undone are crosses.

    Parameters
    ----------
    result : EMResult
        Or the fitted `EMImputer` whose it is.
    ax : matplotlib.axes.Axes, optional
        Where to; by default new ones.

    Raises
    ------
    TypeError
        If it is no result.
    """
    result = getattr(result, "result_", result)
    if not isinstance(result, EMResult):
        raise TypeError(f"Expected the result of a fit, got {type(result).__name__}.")
    with matplotlib.rc_context(style.STYLE):
        ax = ax or _new_axes()
        draw_loglik(ax, describe_fit(result))
        ax.set_xlabel("iteration (evaluation of the EM map)")
    return ax


def plot_missingness(data: Any, ax: Axes | None = None) -> Axes:
    """Draw which cells of a table are missing, its rows sorted by what they miss.

    Parameters
    ----------
    data : DataFrame of pandas or polars, table of Arrow, or array_like of shape (n_rows, n_columns)
        Columns of any type; NaN, None, NA or masked where missing.
    ax : matplotlib.axes.Axes, optional
        Where to; by default new ones.

    Raises
    ------
    ValueError
        If no cell is missing.
    """
    frame = _frame(data)
    missing = frame.isna().to_numpy()
    # Any number stands for a cell that is there.
    summary = PatternSummary.from_array(np.where(missing, np.nan, 0.0), list(frame.columns))
    shown = missingness.describe_map(summary)
    if shown is None:
        raise ValueError("No cell is missing, so there is nothing to draw.")
    with matplotlib.rc_context(style.STYLE):
        ax = ax or _new_axes()
        draw_missingness(ax, shown)
        observed = Patch(color=style.GREY, alpha=style.OBSERVED_ALPHA, label="observed")
        keys = [observed, Patch(color=style.SHADED, label="missing")]
        ax.legend(handles=keys, loc="upper right", bbox_to_anchor=(1, 0), ncols=2, frameon=False)
    return ax


def plot_imputed(
    data: Any, imputed: Any, columns: Sequence[str] | None = None
) -> NDArray[np.object_]:
    """Draw the observed cells of each column above the cells that were filled in.

    Rows are matched by the labels of an index, where both tables have the same, and columns by
    name; what has none, as an array, is taken by position. Infinite cells are left out, with a
    warning.

    Parameters
    ----------
    data : DataFrame or array_like of shape (n_rows, n_columns)
        The table with its holes.
    imputed : DataFrame or array_like of shape (n_rows, n_columns)
        The same, filled; or only its columns of numbers.
    columns : sequence of str, optional
        Columns of numbers or booleans; by default all that had missing cells.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, of shape (n_columns,)
        One for each column.

    Raises
    ------
    ValueError
        If the tables do not fit each other, a column is not there, or no cell was filled.
    """
    before, after = _frame(data), _frame(imputed)
    if len(after) != len(before):
        raise ValueError("The table with holes and the filled one must have the same rows.")
    seen = _numbers(before)
    named = _with_names_of(before, after, data, imputed, list(seen))
    filled = _in_rows_of(before, after, seen, _numbers(named))
    if isinstance(columns, str):
        columns = [columns]
    if unknown := [name for name in columns or () if name not in seen or name not in filled]:
        raise ValueError(f"These are no columns of numbers: {', '.join(unknown)}.")
    holes = {name: np.isnan(cells) for name, cells in seen.items()}
    chosen = columns or [name for name in seen if holes[name].any() and name in filled]
    if not chosen and (lost := [name for name in seen if holes[name].any()]):
        raise ValueError(f"The filled table has no numbers in any of {listed(lost)}.")
    if not chosen:
        raise ValueError("No column of numbers has missing cells, so there is nothing to draw.")
    above = _finite_cells({name: seen[name][~holes[name]] for name in chosen})
    below = _finite_cells({name: filled[name][holes[name]] for name in chosen})
    _warn_of_infinite(seen, filled, chosen)
    shown = describe_distributions(
        [name for name in chosen if len(above[name]) + len(below[name])],
        lambda: [above],
        lambda: [below],
    )
    if not shown:
        raise ValueError("None of the columns has a finite cell, so there is nothing to draw.")
    with matplotlib.rc_context(style.STYLE):
        axes = _new_grid(len(shown))
        for ax, item in zip(axes, shown, strict=True):
            draw_distribution(ax, item)
            ax.set_title(drawable(item.column))
        keys = [
            Patch(color=style.GREY, label="observed"),
            Patch(color=style.IMPUTED, label="imputed"),
        ]
        axes[0].figure.legend(handles=keys, loc="outside upper right", ncols=2, frameon=False)
    return axes


def _frame(data: Any) -> pd.DataFrame:
    """A DataFrame of pandas, with names that differ; those of an array are ``x0, x1, ...``."""
    to_pandas: Callable[[], Any] | None = getattr(data, "to_pandas", None)
    frame = data if to_pandas is None else to_pandas()
    if not isinstance(frame, pd.DataFrame):
        cells = data if isinstance(data, (np.ma.MaskedArray, list)) else np.asarray(data)
        if np.ndim(cells) != 2:
            raise ValueError(
                f"Expected a table of rows and columns, got {np.ndim(cells)} dimension(s)."
            )
        return pd.DataFrame(cells).set_axis(list(default_names(np.shape(cells)[1])), axis=1)
    times: Counter[str] = Counter()
    names = []
    for name in map(str, frame.columns):
        times[name] += 1
        names.append(name if times[name] == 1 else f"{name} ({times[name]})")
    return frame.set_axis(names, axis=1)


def _numbers(frame: pd.DataFrame) -> dict[str, Floats]:
    """The columns of numbers and booleans, by name, NaN where missing."""
    found = {}
    columns, names = columns_of(frame)
    for name, cells in zip(names or (), columns, strict=True):
        with suppress(NotNumbers, NotExact):
            found[name] = numbers_of(cells)[0].astype(np.float64)
    return found


def _with_names_of(
    before: pd.DataFrame, after: pd.DataFrame, data: Any, imputed: Any, numbers: list[str]
) -> pd.DataFrame:
    """The filled table, with the names of the other where one of them has none."""
    if hasattr(data, "columns") and hasattr(imputed, "columns"):
        return after
    for names in (list(before.columns), numbers):
        if len(names) == after.shape[1]:
            return after.set_axis(names, axis=1)
    raise ValueError(
        f"The filled table has {after.shape[1]} columns, the other {before.shape[1]}, and they "
        "cannot be matched: one of the tables has no names."
    )


def _in_rows_of(
    before: pd.DataFrame,
    after: pd.DataFrame,
    seen: Mapping[str, Floats],
    filled: Mapping[str, Floats],
) -> Mapping[str, Floats]:
    """The filled cells in the order of the other table's rows, in which observed cells agree."""
    orders = [np.arange(len(before))]
    if before.index.is_unique and after.index.is_unique:
        matched = after.index.get_indexer(before.index)
        if (matched >= 0).all():
            orders.insert(0, matched)
    for order in orders:
        ordered = {name: cells[order] for name, cells in filled.items()}
        if all(_agree(cells, ordered[name]) for name, cells in seen.items() if name in ordered):
            return ordered
    raise ValueError(
        "The filled table differs from the other in cells that were observed: it is of other rows, "
        "or they are in another order that no index tells."
    )


def _agree(observed: Floats, filled: Floats) -> bool:
    """Whether what was observed is there again, in whichever floating type."""
    shown = ~np.isnan(observed)
    return np.allclose(observed[shown], filled[shown], rtol=SAME, atol=0.0, equal_nan=True)


def _finite_cells(cells: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: column[np.isfinite(column)] for name, column in cells.items()}


def _warn_of_infinite(
    seen: Mapping[str, Floats], filled: Mapping[str, Floats], chosen: Sequence[str]
) -> None:
    """Say how many cells are left out of the pictures."""
    infinite = {name: int((np.isinf(seen[name]) | np.isinf(filled[name])).sum()) for name in chosen}
    if said := [f"{count:,} of {name!r}" for name, count in infinite.items() if count]:
        warnings.warn(f"Infinite cells are not drawn: {', '.join(said)}.", stacklevel=3)


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(style.WIDTH, 3.0), layout="constrained")[1]


def _new_grid(n: int, across: int = 2) -> NDArray[np.object_]:
    import matplotlib.pyplot as plt

    down = -(-n // across)
    _, grid = plt.subplots(
        down, min(n, across), figsize=(style.WIDTH, 1.7 * down), squeeze=False, layout="constrained"
    )
    for ax in grid.flat[n:]:
        ax.set_axis_off()
    axes: NDArray[np.object_] = grid.flat[:n]
    return axes
