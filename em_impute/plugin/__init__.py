"""What makes a run one of Prefect: its tasks, its blocks, and what it shows there (`artifacts`).

Prefect is imported here, in `flows`, and nowhere else but where the command line needs it."""
