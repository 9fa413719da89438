"""A run as events of OpenLineage: when it starts, and how it ends.

`sending` sends them to whoever OpenLineage's own settings name, and never holds a run up for longer
than their timeout. The others are only imported where its client is installed and is to be used:
`events` has the events, `facets` what they say of the tables, `datasets` the names of these.
"""

from em_impute.runs.lineage.sending import tell_end, tell_start

__all__ = ["tell_end", "tell_start"]
