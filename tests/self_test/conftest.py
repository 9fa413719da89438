"""What the tests of the self-test share with those of the tables: snapshots."""

from snapshots import folder, job, take_csv, take_table  # noqa: F401
