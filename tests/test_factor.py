"""EMFactor: scikit-learn's factor analysis and PCA, with missing cells."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from em_impute import EMFactor


@pytest.mark.filterwarnings("ignore::em_impute.gaussian.ConvergenceWarning")
@parametrize_with_checks([EMFactor(), EMFactor(noise="isotropic", rotation="varimax")])
def test_scikit_learn_contract(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # As for EMImputer.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)
