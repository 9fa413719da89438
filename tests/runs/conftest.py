"""What the tests of runs share with those of the tables: folders, snapshots, jobs."""

from snapshots import folder, job, take_csv  # noqa: F401
