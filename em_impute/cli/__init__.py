"""The command line: its commands (`main`), and what each of them needs.

`init`, `run`, `check` and `export` have modules of their own; `ending` has exit codes and
interruptions, `server` the question whether Prefect answers, `terminal` what is drawn while a run
is active.
"""
