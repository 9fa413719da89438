"""From a staged table to a target: the formats, the files put in place, one writer at a time."""
