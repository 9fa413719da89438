"""Draw docs/personality.svg: the factors of configs/factors.yaml, as its report shows them.

``python docs/personality.py`` writes it again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from em_impute.gaussian.families import FactorFit, Options, fit_factor
from em_impute.reporting import plots
from em_impute.reporting.factors import describe_factors

ROOT = Path(__file__).parents[1]


def fitted() -> FactorFit:
    """Five factors of the 25 questions."""
    answers = pd.read_csv(ROOT / "data" / "bfi.csv", index_col="respondent").astype(float)
    answers["A1"] = np.log(answers["A1"])
    options = Options(tol=1e-6, max_iter=1000)
    return fit_factor(answers.to_numpy(), list(answers), 5, rotation="varimax", options=options)


if __name__ == "__main__":
    drawing = plots.loadings(describe_factors(fitted(), "varimax"))
    path = ROOT / "docs" / "personality.svg"
    path.write_text(drawing.alone("Correlations of five factors with 25 questions."))
