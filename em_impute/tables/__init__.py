"""The table side of a job: files in, files out, streamed in Arrow batches.

A source becomes a snapshot in the run's folder (`sources`), its columns get their roles
(`columns`), its rows are summed up for EM (`summarise`), its missing cells are filled into a
staged file (`fill`), and the staged file takes the target's place (`targets`). What a run leaves
behind is in its folder (`run_folder`).
"""
