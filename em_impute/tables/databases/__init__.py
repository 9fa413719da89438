"""Databases as sources and targets.

`opening` makes of a URL (`address`) and a login (`logins`) a `session` of one of three kinds:
`postgresql`, `duckdb`, `sqlite`. A `source` streams rows from it. A `target` is published in one
transaction: `staged_rows` are loaded (`loading`, with `filled_marks`), cells that types would
change are counted (`narrowing`), the rows are put there and compared (`holding`), and the run is
recorded (`runs_table`). `rehearsal` and `published_rows` ask before and after a run.
"""
