"""What a run is and has found (`run`), what it measured, and what runs before it have left.

No Prefect in here."""
