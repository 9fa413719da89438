"""The table side of a job: files in, files out, streamed in Arrow batches.

A source (`sources`, with `reading` and `databases`) becomes a `snapshot` in the run's folder, its
columns get their roles (`columns`), its rows are summed up for EM (`summarise`, `groups`), or for a
mixture taken as they are (`whole_rows`), and kept for later runs (`state`), a model is drawn for
each of several `imputations`, its missing cells are filled into a staged file (`fill`, with the
`ledger`, `clusters` and `scores`), and the staged file takes the target's place (`targets`, with
`writing` and `databases`). Passes over a snapshot may be carried out
elsewhere (`engines`), and a database can fill its table itself (`sql`). `run_folder` names the
files of a run, and `whole_files` are there whole or not at all.

A cell is missing where the snapshot has null or NaN, and nowhere else: what stands for a missing
cell in the source is known to `reading.missing` only.
"""
