"""What the tests of runs share: folders, databases, jobs, and runs through their steps."""

from databases import duckdb_database, postgres_database  # noqa: F401
from measured_runs import mixed, ran  # noqa: F401
from snapshots import folder, job, take_csv  # noqa: F401
