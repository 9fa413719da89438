"""What the tests of runs share: folders, snapshots, jobs, and runs taken through their steps."""

from measured_runs import mixed, ran  # noqa: F401
from snapshots import folder, job, take_csv  # noqa: F401
