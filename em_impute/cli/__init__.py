"""The command line: what it does (`main`), and what it shows while it does it (`terminal`)."""
