"""Draw the pictures of docs/gallery.md: tables filled by EMImputer, and by others beside it.

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
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from em_impute import EMImputer, EMMixture, fit_gaussian, pool
from em_impute.reporting.style import ALARM, GREY, IMPUTED, OBSERVED_ALPHA, OPPOSITE, STYLE

ROOT = Path(__file__).parents[1]
BILL = ["bill_length_mm", "bill_depth_mm"]


def main(folder: Path = ROOT / "docs") -> None:
    """Write the pictures."""
    for drawn in (amounts, categories, groups, gaps, imputers, report):
        with plt.rc_context(STYLE):
            figure = drawn()
            figure.savefig(
                folder / f"gallery_{drawn.__name__}.png", dpi=110, metadata={"Software": None}
            )
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


def gaps() -> Figure:
    """Temperatures of hidden weeks, from the other columns and with the days before and after."""
    days = pd.read_csv(ROOT / "data" / "airquality.csv")
    days.index = pd.to_datetime(days[["Month", "Day"]].assign(year=1973))
    days = days.drop(columns=["Month", "Day"])
    hidden = np.arange(len(days)) % 12 < 4
    holed = days.assign(Temp=days["Temp"].mask(hidden))
    beside = holed.assign(before=holed["Temp"].shift(1), after=holed["Temp"].shift(-1))
    figure, axes = plt.subplots(2, 1, figsize=(7.2, 4.2), sharex=True, layout="constrained")
    ways = {"from the other columns": holed, "with the days before and after": beside}
    for ax, (title, table) in zip(axes, ways.items(), strict=True):
        filled = EMImputer().fit_transform(table)["Temp"]
        ax.plot(days["Temp"], color=GREY, linewidth=1, label="true")
        ax.plot(filled[hidden], "o", color=IMPUTED, markersize=4, label="filled")
        ax.set(title=title, ylabel="temperature, °F")
    axes[0].legend(frameon=False, ncols=2)
    return figure


def imputers() -> Figure:
    """Hidden heights of a wave, by a linear model, a forest and a mixture."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 400)
    table = np.column_stack([x, np.sin(2 * x) + rng.normal(0, 0.1, 400)])
    hidden = rng.random(400) < 0.3
    holed = table.copy()
    holed[hidden, 1] = np.nan
    forest = IterativeImputer(RandomForestRegressor(50, random_state=0), max_iter=1)
    fills = {
        "EMImputer": EMImputer().fit_transform(holed),
        "random forest": forest.fit_transform(holed),
        "EMMixture": EMMixture(6, random_state=0).fit(holed).impute(holed),
    }
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), sharey=True, layout="constrained")
    for ax, (title, filled) in zip(axes, fills.items(), strict=True):
        ax.scatter(*table.T, 8, GREY, alpha=0.5, linewidths=0, label="true")
        ax.scatter(*filled[hidden].T, 10, IMPUTED, label="filled")
        ax.set(title=title)
    axes[0].legend(frameon=False, loc="upper center", ncols=2)
    axes[0].set(ylim=(-1.4, 1.8))
    return figure


def report() -> Figure:
    """The mean of ozone with its 95% interval, by what it was taken from."""
    air = pd.read_csv(ROOT / "data" / "airquality.csv")[["Ozone", "Solar.R", "Wind", "Temp"]]

    def mean_and_variance(table: pd.DataFrame) -> tuple[float, float]:
        return table["Ozone"].mean(), table["Ozone"].var() / table["Ozone"].count()

    imputer = EMImputer(random_state=1).fit(air)
    pooled = pool(mean_and_variance, imputer.multiply(air, 20)).table().iloc[0]
    known = fit_gaussian(air).estimates().iloc[0]
    means = {
        "rows that show it": mean_and_variance(air),
        "one filled table": mean_and_variance(imputer.transform(air)),
        "twenty, pooled": (pooled["estimate"], pooled["std_error"] ** 2),
        "the model": (known["estimate"], known["std_error"] ** 2),
    }
    figure, ax = plt.subplots(figsize=(7.2, 1.9), layout="constrained")
    for place, (mean, variance) in enumerate(means.values()):
        half = 1.96 * np.sqrt(variance)
        ax.plot([mean - half, mean + half], [place, place], color=IMPUTED, linewidth=1.4)
        ax.plot(mean, place, "o", color=IMPUTED, markersize=5)
    ax.set_yticks(range(len(means)), list(means))
    ax.set(ylim=(len(means) - 0.5, -0.5), xlabel="mean of ozone, parts per billion")
    return figure


def _pair() -> tuple[Figure, NDArray[Any]]:
    return plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True, layout="constrained")


if __name__ == "__main__":
    main()
