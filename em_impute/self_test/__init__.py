"""A run tests itself: cells are hidden (`cells`), filled (`run`), scored (`scores`) and judged."""
