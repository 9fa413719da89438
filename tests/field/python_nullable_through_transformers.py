"""Nullable columns through a ColumnTransformer, a FeatureUnion and into an array.

Right: numbers, as from SimpleImputer; after filling nothing is missing.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_union

from em_impute import EMImputer

numbers = np.random.default_rng(0).normal(size=50)
frame = pd.DataFrame({"i": pd.array([1, 2, None, 4, 6] * 10, dtype="Int64"), "f": numbers})
for imputer in (SimpleImputer(), EMImputer()):
    arrays = {
        "ColumnTransformer": make_column_transformer((imputer, ["i", "f"])).fit_transform(frame),
        "FeatureUnion": make_union(imputer).fit_transform(frame),
        "array": np.asarray(imputer.fit_transform(frame)),
    }
    for name, array in arrays.items():
        good = array.dtype == np.float64 and np.isfinite(array).all()
        print("right" if good else "WRONG", type(imputer).__name__, name, array.dtype)
