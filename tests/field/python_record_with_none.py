"""A fitted imputer is handed one record whose field is None, of which pandas makes objects.

Right: filled as the same record of floats, whatever stands for the missing cell; a column of None
in `fit` is an empty column.
"""

import warnings

import numpy as np
import pandas as pd

from em_impute import EMImputer

rng = np.random.default_rng(0)
a = rng.normal(size=50)
imputer = EMImputer().fit(pd.DataFrame({"a": a, "b": 2 * a + rng.normal(size=50)}))
row = pd.DataFrame([{"a": 1.0, "b": None}])
right = imputer.transform(row.astype(float)).to_numpy()
given = {
    "record": row,
    "objects with None": pd.DataFrame({"a": pd.Series([1], dtype=object), "b": [np.nan]}),
    "array with NA": np.array([[1.0, pd.NA]], dtype=object),
}
warnings.simplefilter("ignore")  # an array has no names, a column is empty
for name, X in given.items():
    try:
        filled = np.asarray(imputer.transform(X))
        print("right" if np.array_equal(filled, right) else "WRONG", name, filled.tolist())
    except Exception as error:
        print("WRONG", name, type(error).__name__, error)
try:
    columns = list(EMImputer().fit_transform(pd.DataFrame({"a": a, "b": None})))
    print("right" if columns == ["a"] else "WRONG", "a column of None", columns)
except Exception as error:
    print("WRONG a column of None", type(error).__name__, error)
