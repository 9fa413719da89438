"""Draw the pictures of docs/gallery.md: amounts, categories and groups, filled by EMImputer.

``python docs/gallery.py`` writes them again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from em_impute import EMImputer
from em_impute.reporting.style import ALARM, GREY, IMPUTED, OBSERVED_ALPHA, OPPOSITE, STYLE

ROOT = Path(__file__).parents[1]
BILL = ["bill_length_mm", "bill_depth_mm"]


def main(folder: Path = ROOT / "docs") -> None:
    """Write the pictures."""
    for name, drawn in (("amounts", amounts), ("categories", categories), ("groups", groups)):
        with plt.rc_context(STYLE):
            figure = drawn()
            figure.savefig(folder / f"gallery_{name}.png", dpi=110, metadata={"Software": None})
            plt.close(figure)


def amounts() -> Figure:
    """Ozone as a Gaussian fills it, and through its logarithm."""
    air = pd.read_csv(ROOT / "data" / "airquality.csv")[["Ozone", "Solar.R", "Wind", "Temp"]]
    figure, axes = _pair()
    missing, bins = air["Ozone"].isna(), np.arange(-30, 180, 10)
    options: dict[str, dict[str, Any]] = {
        "as it is": {},
        "by its logarithm": {"transforms": {"Ozone": "log"}},
    }
    for ax, (title, chosen) in zip(axes, options.items(), strict=True):
        filled = EMImputer(**chosen).fit_transform(air).loc[missing, "Ozone"]
        ax.hist(air["Ozone"].dropna(), bins, color=GREY, alpha=2 * OBSERVED_ALPHA, label="observed")
        ax.hist(filled, bins, color=IMPUTED, label="filled")
        ax.axvline(0, color=ALARM, linewidth=1)
        ax.set(title=title, xlabel="ozone, parts per billion")
    axes[0].legend(frameon=False)
    return figure


def categories() -> Figure:
    """The sex of penguins where it was not recorded, among those where it was."""
    penguins = pd.read_csv(ROOT / "data" / "penguins.csv")
    imputer = EMImputer(categories={"sex": "nominal", "species": "nominal"})
    filled, missing = imputer.fit_transform(penguins), penguins["sex"].isna()
    figure, axes = _pair()
    for ax, species in zip(axes, ("Adelie", "Gentoo"), strict=True):
        for sex, colour in (("female", OPPOSITE), ("male", IMPUTED)):
            of_kind = (filled["species"] == species) & (filled["sex"] == sex)
            shown, guessed = filled[of_kind & ~missing], filled[of_kind & missing]
            place = ["bill_depth_mm", "body_mass_g"]
            ax.scatter(*shown[place].to_numpy().T, 12, colour, alpha=0.35, linewidths=0, label=sex)
            marks = {"edgecolors": "black", "label": f"{sex}, filled"}
            ax.scatter(*guessed[place].to_numpy().T, 60, colour, **marks)
        ax.set(title=species, xlabel="bill depth, mm")
    axes[0].set(ylabel="body mass, g")
    axes[0].legend(frameon=False)
    return figure


def groups() -> Figure:
    """Bill depths that were hidden, filled by one model and by one for each species."""
    penguins = pd.read_csv(ROOT / "data" / "penguins.csv")[["species", *BILL]]
    hidden = np.random.default_rng(0).random(len(penguins)) < 0.3
    holed = penguins.assign(bill_depth_mm=penguins["bill_depth_mm"].mask(hidden))
    figure, axes = _pair()
    fills = {
        "one model": EMImputer().fit_transform(holed[BILL]),
        "one for each species": EMImputer(group_by=["species"], min_group_rows=40).fit_transform(
            holed
        ),
    }
    for ax, (title, filled) in zip(axes, fills.items(), strict=True):
        _depths(ax, penguins, filled, hidden)
        ax.set(title=title, xlabel="bill length, mm")
    axes[0].set(ylabel="bill depth, mm")
    axes[0].legend(frameon=False, loc="lower left")
    return figure


def _depths(ax: Axes, true: pd.DataFrame, filled: pd.DataFrame, hidden: NDArray[np.bool_]) -> None:
    ax.scatter(*true[BILL].to_numpy().T, 12, GREY, alpha=0.5, linewidths=0, label="true")
    ax.scatter(*filled.loc[hidden, BILL].to_numpy().T, 12, IMPUTED, label="filled")


def _pair() -> tuple[Figure, NDArray[Any]]:
    return plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True, layout="constrained")


if __name__ == "__main__":
    main()
