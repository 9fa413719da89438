"""What a notebook shows of a fit and a table: pictures on matplotlib axes, and a page of HTML.

The pictures are those of the report, drawn by the same functions from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from em_impute.gaussian import EMResult, PatternSummary
from em_impute.gaussian.patterns import Floats
from em_impute.gaussian.table import default_names
from em_impute.reporting import diagnostics, missingness, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Columns of a table whose estimates are shown.
MOST_ESTIMATES = 30


def plot_trace(result: EMResult, ax: Axes | None = None) -> Axes:
    """Draw the log-likelihood by iteration; steps that were rejected and undone are crosses.

    Parameters
    ----------
    result : EMResult
    ax : matplotlib.axes.Axes, optional
        Where to; by default new ones.
    """
    with matplotlib.rc_context(plots.STYLE):
        ax = ax or _new_axes()
        plots.draw_loglik(ax, diagnostics.describe_fit(result))
        ax.set_xlabel("iteration (evaluation of the EM map)")
    return ax


def plot_missingness(data: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw which cells of a table are missing, its rows sorted by what they miss.

    Parameters
    ----------
    data : DataFrame of pandas or polars, or array_like of shape (n_rows, n_columns)
        Columns of any type; NaN, None or NA where missing.
    ax : matplotlib.axes.Axes, optional
        Where to; by default new ones.

    Raises
    ------
    ValueError
        If no cell is missing.
    """
    missing, columns = _missing(data)
    # Any number stands for a cell that is there.
    summary = PatternSummary.from_array(np.where(missing, np.nan, 0.0), columns)
    shown = missingness.describe_map(summary)
    if shown is None:
        raise ValueError("No cell is missing, so there is nothing to draw.")
    with matplotlib.rc_context(plots.STYLE):
        ax = ax or _new_axes()
        plots.draw_missingness(ax, shown)
    return ax


def plot_imputed(
    data: ArrayLike, imputed: ArrayLike, columns: Sequence[str] | None = None
) -> NDArray[np.object_]:
    """Draw the observed cells of each column above the cells that were filled in.

    Parameters
    ----------
    data : DataFrame or array_like of shape (n_rows, n_columns)
        The table with its holes.
    imputed : DataFrame or array_like of shape (n_rows, n_columns)
        The same, filled.
    columns : sequence of str, optional
        Columns of numbers; by default all that had missing cells.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, of shape (n_columns,)
        One for each column.

    Raises
    ------
    ValueError
        If the tables differ in shape, a column is not there, or no cell was filled.
    """
    before, after = _numbers(data), _numbers(imputed)
    missing, names = _missing(data)
    if len(_missing(imputed)[0]) != len(missing):
        raise ValueError("The table with holes and the filled one must have the same rows.")
    if unknown := [name for name in columns or () if name not in before]:
        raise ValueError(f"These are no columns of numbers: {', '.join(unknown)}.")
    holes = dict(zip(names, missing.T, strict=True))
    chosen = columns or [name for name in before if holes[name].any() and name in after]
    if not chosen:
        raise ValueError("No column of numbers has missing cells, so there is nothing to draw.")
    shown = diagnostics.describe_distributions(
        chosen,
        lambda: [{name: before[name][~holes[name]] for name in chosen}],
        lambda: [{name: after[name][holes[name]] for name in chosen}],
    )
    with matplotlib.rc_context(plots.STYLE):
        axes = _new_grid(len(chosen))
        for ax, item in zip(axes, shown, strict=True):
            plots.draw_distribution(ax, item)
            ax.set_title(plots.label(item.column))
    return axes


def result_html(result: EMResult) -> str:
    """The fit as HTML: how it ended, and the estimates. Names are escaped; no style of its own."""
    return "".join(_page(result))


def _page(result: EMResult) -> Iterator[str]:
    seen, fraction = result.missingness, result.worst_fraction
    cells = seen.n_rows * len(result.model.columns)
    facts = {
        "Status": result.status.value,
        "Iterations": f"{result.n_iter:,}",
        "Log-likelihood": f"{result.loglik:,.6f}",
        "Estimated distance to the maximum": f"{result.distance:.1g}",
        "Rows, columns": f"{seen.n_rows:,}, {len(result.model.columns):,}",
        "Missing cells": f"{seen.n_missing:,} of {cells:,}, in {seen.n_patterns:,} patterns",
        "Ridge prior": f"{result.prior_rows:.4g} pseudo-rows" if result.prior_rows else "none",
    }
    if not np.isnan(fraction):
        facts["Worst fraction of missing information"] = f"{fraction:.4f}"
    yield "<div><p><strong>Multivariate Gaussian, estimated by EM</strong></p>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in result.remarks)
    yield "<table>"
    left = 'style="text-align: left"'
    for name, value in facts.items():
        yield f"<tr><th {left}>{name}</th><td {left}>{value}</td></tr>"
    yield "</table><table><tr><th>Column</th><th>Mean</th><th>Sd</th></tr>"
    model = result.model
    for name, mean, sd in list(zip(model.columns, model.mean, model.sd, strict=True))[
        :MOST_ESTIMATES
    ]:
        yield f"<tr><td>{escape(name)}</td><td>{mean:.6g}</td><td>{sd:.6g}</td></tr>"
    yield "</table>"
    if (rest := len(model.columns) - MOST_ESTIMATES) > 0:
        yield f"<p>and {rest:,} more columns</p>"
    yield "</div>"


def _missing(data: Any) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which cells are missing, of shape (n_rows, n_columns), and the columns' names."""
    frame = _frame(data)
    if frame is not None:
        return frame.isna().to_numpy(), tuple(map(str, frame.columns))
    X = np.asarray(data, dtype=np.float64)
    if X.ndim != 2:
        raise ValueError(f"Expected a table of rows and columns, got {X.ndim} dimension(s).")
    return np.isnan(X), default_names(X.shape[1])


def _numbers(data: Any) -> Mapping[str, Floats]:
    """The columns of numbers, by name."""
    frame = _frame(data)
    if frame is not None:
        numeric = frame.select_dtypes("number")
        return {
            str(name): numeric.iloc[:, j].to_numpy(dtype=np.float64, na_value=np.nan)
            for j, name in enumerate(numeric.columns)
        }
    X = np.asarray(data, dtype=np.float64)
    return dict(zip(default_names(X.shape[1]), X.T, strict=True))


def _frame(data: Any) -> Any:
    """A DataFrame of pandas; None of what has no columns."""
    to_pandas: Callable[[], Any] | None = getattr(data, "to_pandas", None)
    frame = data if to_pandas is None else to_pandas()
    return frame if hasattr(frame, "columns") else None


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(plots.WIDTH, 3.0), layout="constrained")[1]


def _new_grid(n: int, across: int = 2) -> NDArray[np.object_]:
    import matplotlib.pyplot as plt

    down = -(-n // across)
    _, grid = plt.subplots(
        down, min(n, across), figsize=(plots.WIDTH, 1.7 * down), squeeze=False, layout="constrained"
    )
    for ax in grid.flat[n:]:
        ax.set_axis_off()
    axes: NDArray[np.object_] = grid.flat[:n]
    return axes
