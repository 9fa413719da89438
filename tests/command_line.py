"""The command line called in this process, and small tables for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from click.testing import CliRunner, Result

from em_impute.cli import main as cli

OLD = b"the table of yesterday\n"


def em_impute(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def run_directly(*arguments: object) -> Result:
    """`em-impute run --direct`: a tenth of the work, for tests of what the steps do and say."""
    return em_impute("run", "--direct", *arguments)


def table(**columns: list[Any]) -> str:
    return pd.DataFrame(columns).to_csv(index=False)


def good_rows(n: int = 40) -> dict[str, list[Any]]:
    """Two related columns, the second with a hole in every fifth row."""
    rng = np.random.default_rng(1)
    x = rng.normal(10, 2, n).round(3)
    y = (3 * x + rng.normal(0, 1, n)).round(3)
    return {"x": x.tolist(), "y": [None if i % 5 == 0 else v for i, v in enumerate(y.tolist())]}


def skewed_rows(n: int = 600) -> dict[str, list[Any]]:
    """Two related columns, the second log-normal given the first; every fifth row has a hole."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=n)
    y = np.exp(0.5 * x + rng.normal(size=n))
    return {"x": x.tolist(), "y": [None if i % 5 == 0 else v for i, v in enumerate(y.tolist())]}


GOOD = table(**good_rows())


def shown(folder: Path) -> list[str]:
    """What is in the folder of a target besides its lock and its record, which are hidden."""
    beside = {".filled.csv.em_impute.lock", ".filled.csv.em_impute.json"}
    return sorted({file.name for file in folder.iterdir()} - beside)
