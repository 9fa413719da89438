"""Compiles the engine's loops and keeps them, so that not each process of the tests compiles them.

It runs beside the workers while these still import and collect.
"""

from __future__ import annotations

import warnings

from holed_tables import factor_table

from em_impute import EMFactor, EMImputer, EMMixture, multiply_impute

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # With many holes the observed block of a pattern is inverted, with few its missing one.
    for missing in (0.8, 0.2):
        X = factor_table(200, 6, missing, seed=1)
        EMImputer().fit_transform(X)
        EMImputer(sample=True, random_state=1).fit_transform(X)
        EMMixture(2, random_state=1).fit(X).impute(X)
        EMFactor(2).fit(X).impute(X)
    list(multiply_impute(X, 2, seed=1))
