"""`PatternSummary.update` refuses a chunk with an infinity.

Right: the summary is as it was before, so that what comes later is not lost: the mean of 1, 2, 4.
"""

from em_impute import PatternSummary

summary = PatternSummary(["a"])
try:
    summary.update([[float("inf")], [1.0]])
    print("WRONG: an infinity was taken")
except ValueError as error:
    print("right, refused:", error)
summary.update([[1.0], [2.0], [4.0]])
[mean] = summary.observed_mean
print("right" if (summary.n_rows, round(mean, 3)) == (3, 2.333) else "WRONG", summary, mean)
