"""Pictures of tables as they come: arrays beside frames, infinities, text, repeated names, flags.

Right: drawn, and rows in another order matched by their labels.
"""

import warnings

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd

from em_impute import plot_imputed, plot_missingness

warnings.simplefilter("ignore")  # infinite cells are left out with a warning
holes = pd.DataFrame({"a": [1.0, 2, 3, 4, np.nan], "b": [100.0, 200, 300, 400, 500]})
whole = holes.fillna(2.5)
flags = pd.DataFrame({"a": pd.array([True, None, False], dtype="boolean")})
cases = {
    "an array beside a frame": lambda: plot_imputed(holes, whole.to_numpy()),
    "an infinity": lambda: plot_imputed(holes, holes.fillna(np.inf)),
    "text": lambda: plot_missingness(np.array([[1, None], ["x", 2]], dtype=object)),
    "repeated names": lambda: plot_missingness(holes.set_axis(["a", "a"], axis=1)),
    "flags": lambda: plot_imputed(flags, pd.DataFrame({"a": [1, 0.5, 0]})),
    "rows in another order": lambda: plot_imputed(holes, whole.iloc[::-1]),
}
for name, draw in cases.items():
    try:
        draw()
        print("right", name)
    except Exception as error:
        print("WRONG", name, type(error).__name__, error)
bins = [patch.get_data() for patch in plot_imputed(holes, whole.iloc[::-1])[0].patches]
imputed = min(bins, key=lambda data: data.values.min())
at = int(np.flatnonzero(imputed.values)[0])
low, high = imputed.edges[at : at + 2]
print("right" if low <= 2.5 <= high else "WRONG", "the imputed cell that is drawn")
