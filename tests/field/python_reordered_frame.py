"""A model knows its columns' names, and a frame its own; they come in another order.

Right: columns are found by name, others are refused, and a fit keeps a frame's names.
"""

import numpy as np
import pandas as pd

from em_impute import PatternSummary, fit_gaussian

rng = np.random.default_rng(0)
frame = pd.DataFrame({"age": rng.normal(40, 10, 200), "income": rng.normal(30000, 5000, 200)})
frame.iloc[:20, 1] = np.nan
model, other = fit_gaussian(frame).model, frame[["income", "age"]]
age = PatternSummary(frame.columns).update(other).observed_mean[0]
found = {
    "names": model.columns == ("age", "income"),
    "filled": np.array_equal(model.impute(other)[:, 0], model.impute(frame)[:, 1]),
    "summarised": abs(age - frame["age"].mean()) < 1e-9,
    "nullable": np.allclose(fit_gaussian(frame.astype("Float64")).model.mean, model.mean),
}
for what, good in found.items():
    print("right" if good else "WRONG", what)
try:
    model.impute(frame.rename(columns={"age": "years"}))
    print("WRONG: another column was taken for 'age'")
except ValueError as error:
    print("right, refused:", error)
