"""The rows of earlier runs, summed up on disk, and how a run goes on from them.

A *partition* is what is delivered at a time: the rows of a data date, or of a file in a folder. Of
each the folder of a state keeps one `PatternSummary`, and an *index* of which there are. `kept`
reads and writes that folder, `delivered` tells the partitions of a table, `blocks` adds up many of
them with few reads, `shape` knows what of a job must stay as it is for rows to be added up, and
`gathering` makes of a run's table and of what is kept the rows that its model is fitted to. Nothing
is changed before a run has published.
"""
