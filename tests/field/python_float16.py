"""A frame of float16, as scripts that save memory make, with fills above its largest number, 65504.

Right: finite, in a wider type.
"""

import numpy as np
import pandas as pd

from em_impute import EMImputer

x = np.linspace(10000, 65000, 50)
y = 1.05 * x
y[-8:] = np.nan
frame = pd.DataFrame({"x": x, "y": y}).astype("float16")
right = EMImputer().fit_transform(frame.astype("float32"))["y"].to_numpy()
for name, given in {"frame": frame, "array": frame.to_numpy()}.items():
    filled = np.asarray(EMImputer().fit_transform(given))[:, 1]
    print("right" if np.array_equal(filled, right) else "WRONG", name, filled[-3:].tolist())
