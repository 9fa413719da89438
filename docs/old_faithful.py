"""Draw docs/old_faithful.gif: EM finds the two kinds of eruption with a fifth of the cells deleted.

``python docs/old_faithful.py`` writes it again. A row that shows one cell only is a tick at the
edge; colours are responsibilities, ellipses hold nine tenths of a component.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy.stats import chi2

from em_impute import ConvergenceWarning, EMMixture
from em_impute.reporting.style import IMPUTED, OPPOSITE, STYLE

ROOT = Path(__file__).parents[1]
FRAMES = 26
# Two components where no eruptions are, so that they have a way to go.
START: dict[str, Any] = {
    "weights_init": [0.5, 0.5],
    "means_init": [[2.2, 85.0], [4.4, 52.0]],
    "precisions_init": [np.diag([1.0, 1 / 150])] * 2,
}
COLOURS = np.array([to_rgb(IMPUTED), to_rgb(OPPOSITE)])
INSIDE = 0.9


def main() -> None:
    """Write the picture."""
    holed = deleted()
    mixtures = [after(steps, holed) for steps in range(1, FRAMES)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 3.6), dpi=90, layout="constrained")
        pauses = [*range(len(mixtures)), *[len(mixtures) - 1] * 8]
        animation = FuncAnimation(
            figure, lambda i: draw(axes, holed, mixtures[i], i + 1), frames=pauses
        )
        animation.save(ROOT / "docs" / "old_faithful.gif", writer=PillowWriter(fps=4))


def deleted() -> pd.DataFrame:
    """The eruptions, with a fifth of the cells missing."""
    whole = pd.read_csv(ROOT / "data" / "faithful.csv")
    return whole.mask(np.random.default_rng(0).random(whole.shape) < 0.2)


def after(steps: int, holed: pd.DataFrame) -> EMMixture:
    """The mixture after so many steps of EM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return EMMixture(2, max_iter=steps, **START).fit(holed)


def draw(axes: Axes, holed: pd.DataFrame, mixture: EMMixture, steps: int) -> None:
    """Draw the rows and the ellipses of a mixture."""
    axes.clear()
    x, y = holed.to_numpy().T
    axes.set(xlim=(1.2, 5.6), ylim=(38, 102))
    axes.set(xlabel="eruption, minutes", ylabel="wait for the next, minutes")
    axes.set_title(f"step {steps}: log-likelihood {mixture.loglik_:.1f}")
    colours = mixture.predict_proba(holed) @ COLOURS
    both = ~np.isnan(x) & ~np.isnan(y)
    axes.scatter(x[both], y[both], s=9, c=colours[both], linewidths=0)
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    for some, points, marker in (
        (np.isnan(y), (x, np.full_like(x, bottom)), "|"),
        (np.isnan(x), (np.full_like(y, left), y), "_"),
    ):
        axes.scatter(*(cells[some] for cells in points), s=60, c=colours[some], marker=marker)
    for g, colour in enumerate(COLOURS):
        edge = ellipse(mixture.means_[g], mixture.covariances_[g])
        axes.plot(*edge.T, color=colour, linewidth=1.6)


def ellipse(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The edge (100, 2) of the ellipse that holds `INSIDE` of a Gaussian."""
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.column_stack([np.cos(angle), np.sin(angle)]) * np.sqrt(chi2.ppf(INSIDE, 2))
    edge: NDArray[np.float64] = mean + circle @ np.linalg.cholesky(covariance).T
    return edge


if __name__ == "__main__":
    main()
