"""`em-impute init`: a first job for a table, or the example's table and job, as files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from em_impute.job import CannotRun
from em_impute.runs.draft import draft

EXAMPLE = "airquality.csv"


def source_of(place: str, table: str | None, password: str | None = None) -> dict[str, Any]:
    """The source of a job, as the command line names it.

    Parameters
    ----------
    place : str
        A path, the URL of a database, or ``env:NAME`` for the variable that holds it.
    table : str or None
        In a database.
    password : str or None
        The environment variable that holds the password.

    Raises
    ------
    CannotRun
        If a database is named without a table, or a file with one.
    """
    is_database = place.startswith(("postgresql:", "postgres:", "duckdb:", "sqlite:", "env:"))
    if is_database != (table is not None):
        raise CannotRun(
            "A database needs --table NAME beside its URL."
            if is_database
            else "--table is for databases, whose URL begins with postgresql:, duckdb: or sqlite:."
        )
    if not is_database:
        return {"path": place}
    url = {"env": place.removeprefix("env:")} if place.startswith("env:") else place
    found: dict[str, Any] = {"url": url, "table": table}
    return found | ({"password": {"env": password}} if password else {})


def write_job(source: Mapping[str, Any], out: Path) -> list[str]:
    """Write a first job for a table, and return what there is to say of it.

    Parameters
    ----------
    source : dict
        As in a job.
    out : Path
        The job file, which must not be there.

    Raises
    ------
    CannotRun
        If the table cannot be read, or the file is there.
    """
    _require_new(out)
    made = draft(source)
    out.write_text(made.text, encoding="utf-8")
    proposal = made.proposal
    changed = len(proposal.transform) + len(proposal.bounds) + len(proposal.categories)
    return [
        f"Wrote {out}: {len(proposal.impute)} columns to fill, {len(proposal.predictors)} that "
        f"predict, {changed} choices with their reasons, {len(proposal.left)} columns left as they "
        "are.",
        f"Read it, then: em-impute check {out}",
    ]


def write_example(out: Path) -> list[str]:
    """Write the example's table beside its job, and return what there is to say of it.

    Raises
    ------
    CannotRun
        If one of them is there.
    """
    table = out.parent / EXAMPLE
    _require_new(out)
    _require_new(table)
    table.write_bytes(files("em_impute.cli").joinpath(EXAMPLE).read_bytes())
    said = write_job({"path": str(table)}, out)
    return [f"Wrote {table}: the air of New York, summer 1973, with 44 missing cells.", *said]


def _require_new(path: Path) -> None:
    if path.exists():
        raise CannotRun(f"{path} is there already; name another file with --out.")
