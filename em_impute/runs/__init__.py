"""A run of a job without Prefect: its steps, what it leaves, and what is known of earlier runs.

`run` has the records: a `Run`, what it has `Found`, and the `Outcome`, how it ended. `steps` are
what it does, in their order; the last of them, `report`, leaves what `measure` makes of it, and the
`manifest`. `history` and `kept` are about earlier runs. To verify a run is to compute it again
(`recompute`), and its model can go to a database (`export`); to check is to look at a job or a
table. Before the first run there may be no job: `draft` writes one for a table.
"""
