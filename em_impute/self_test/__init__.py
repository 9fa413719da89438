"""A run tests itself: observed cells are hidden, filled and scored.

`cells` hides them, `run` has them filled, `scores` and `calibration` compare, and `judge` says what
that means, by the `limits`. `energy` scores the model's draws, column by column.
"""
