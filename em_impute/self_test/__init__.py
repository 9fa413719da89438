"""A run tests itself: observed cells are hidden (`cells`), filled (`run`) and scored (`scores`)."""
