"""Murray's (1977) twelve rows, whose usual start is on a saddle between two maxima.

Right: a maximum (log-likelihood -29.974, correlation of a half), or a warning; several starts find
it.
"""

import warnings

import numpy as np

from em_impute import ConvergenceWarning, EMImputer, fit_gaussian

n = np.nan
corners = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
X = np.array([*corners, *2 * [[2, n], [-2, n], [n, 2], [n, -2]]])
fits = {
    "EMImputer": lambda: EMImputer().fit(X).result_,
    "EMImputer, 5 starts": lambda: EMImputer(n_starts=5).fit(X).result_,
    "fit_gaussian": lambda: fit_gaussian(X),
    "fit_gaussian, 5 starts": lambda: fit_gaussian(X, n_starts=5),
}
for name, fit in fits.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit()
    warned = any(issubclass(one.category, ConvergenceWarning) for one in caught)
    at_maximum = abs(result.loglik + 29.974) < 1e-3
    good = at_maximum if "starts" in name else at_maximum or (warned and not result.converged)
    print("right" if good else "WRONG", name, result.status.value, round(result.loglik, 3))
