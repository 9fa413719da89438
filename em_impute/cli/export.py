"""`em-impute export`: the model of a run as SQL, printed or in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click

from em_impute.runs.export import read_export
from em_impute.tables.whole_files import written_whole


def write(
    run: Path, kind: Literal["sql", "dbt"], dialect: str, table: str | None, out: Path | None
) -> Iterator[str]:
    """Write the files; yield what is to be printed: the query itself, or which files there are.

    Parameters
    ----------
    run : Path
        The run's folder.
    kind : {"sql", "dbt"}
    dialect : {"duckdb", "postgresql"}
    table : str or None
        The table to fill; None for the one that the run has read.
    out : Path or None
        The file or folder to write; None to print a query.

    Raises
    ------
    CannotRun
        As `em_impute.runs.export` does.
    """
    if kind == "dbt" and out is None:
        raise click.UsageError("--to dbt needs --out, the folder of a dbt project.")
    exported = read_export(run)
    if out is None:
        yield exported.sql(dialect, table)
        return
    files = (
        {Path(): exported.sql(dialect, table)} if kind == "sql" else exported.dbt(dialect, table)
    )
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as half_written:
            half_written.write_text(content, encoding="utf-8")
        yield f"Wrote {path}."
