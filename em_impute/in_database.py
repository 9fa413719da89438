"""Tables that are summed up and filled in their database: no row leaves it.

summary = summarise_in_database("duckdb:///warehouse.duckdb", "orders", ["amount", "weight"])
model = fit_gaussian(summary).model
fill_in_database("duckdb:///warehouse.duckdb", "orders", model, into="orders_filled")
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.job import CannotRun, DatabaseSource, DatabaseTarget, split_table
from em_impute.runs.export import read_export
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.databases.opening import opened
from em_impute.tables.databases.session import DatabaseError
from em_impute.tables.snapshot import is_numeric
from em_impute.tables.sql.cells import Cells
from em_impute.tables.sql.filling import (
    FilledTable,
    dialect_of,
    existing,
    put_filled,
    schema_of,
)
from em_impute.tables.sql.select import Filled
from em_impute.tables.sql.summary import Standing

_log = logging.getLogger(__name__)


def summarise_in_database(
    url: str | dict[str, str], table: str, columns: Sequence[str] | None = None, **login: Any
) -> PatternSummary:
    """Sum a table up per missingness pattern, in the database: all that `fit_gaussian` needs.

    What comes over the network is a count, the means and the cross-products of each pattern, and
    the rows of patterns with hardly more rows than they show columns. Where there are so many
    patterns that this is more than the rows, the rows are read, and a warning is logged.

    Parameters
    ----------
    url : str or dict
        As in the source of a job: ``duckdb:///warehouse.duckdb``, ``postgresql://host/database``,
        or ``{"env": "WAREHOUSE_URL"}`` for the environment variable that holds it.
    table : str
        With or without its schema.
    columns : sequence of str, optional
        Columns of numbers, 63 at most; by default all of them.
    **login
        ``password={"env": NAME}``: the environment variable that holds the password.

    Raises
    ------
    ValueError
        If the URL or the table is no such thing.
    CannotRun
        If the database cannot be read, or refuses; a column is not there, is not one of numbers, or
        has infinite cells.
    """
    place = DatabaseSource(url=url, table=table, **login)
    with opened(place, sparing=True) as session:
        found = existing(session, split_table(table))
        schema = schema_of(session, found.sql)
        if columns is None:
            columns = [field.name for field in schema if is_numeric(field.type)]
        _check_numbers(schema, columns)
        cells = [Cells(Numeric(name)).encoded[0] for name in columns]
        standing = Standing(session, dialect_of(session), found.sql, tuple(columns), tuple(cells))
        summary, note = standing.summarise()
    if note:
        _log.warning(note)
    return summary


def fill_in_database(
    url: str | dict[str, str],
    table: str,
    model: GaussianModel,
    into: str,
    impute: Sequence[str] | None = None,
    key: Sequence[str] = (),
    **login: Any,
) -> FilledTable:
    """Fill a table's missing cells with their expected values, in the database, in one transaction.

    Readers see the filled table as it was, until they see it whole. Nothing is committed unless it
    has as many rows, and no missing cell in an imputed column.

    Parameters
    ----------
    url : str or dict
        As for `summarise_in_database`.
    table : str
    model : GaussianModel
        Of columns of the table.
    into : str
        The filled table, which is made, or whose rows are replaced.
    impute : sequence of str, optional
        The columns to fill; by default all of the model's.
    key : sequence of str
        Columns that identify a row. With them the observed cells are compared, too, before the
        filled table is committed.
    **login
        As for `summarise_in_database`.

    Returns
    -------
    FilledTable

    Raises
    ------
    ValueError
        If the URL or a table is no such thing.
    CannotRun
        If the database cannot be reached, or refuses; a column is not there or not one of numbers;
        the filled table has other columns. It is as it was then.
    """
    place = DatabaseTarget(url=url, table=into, **login)
    with opened(place, sparing=True) as session:
        source, target = existing(session, split_table(table)), session.find(split_table(into))
        schema = schema_of(session, source.sql)
        _check_numbers(schema, model.columns)
        roles = _roles(schema, model, impute, key)
        filled = Filled(model.in_order_of(roles.dimensions), roles, schema)
        return put_filled(session, filled, source, target, key)


def fill_from_run(run: str | Path, into: str, table: str | None = None) -> FilledTable:
    """Fill a table with the model of a run, in the database that the run has read.

    With the run's transforms, bounds, categories and the like, and by its login, as
    `fill_in_database` does. The key of the job, if it has one, is what rows are compared by.

    Parameters
    ----------
    run : str or Path
        The folder of a run with ``method: mean``.
    into : str
        The filled table, which is made, or whose rows are replaced.
    table : str, optional
        The table to fill; by default the one that the run has read.

    Returns
    -------
    FilledTable

    Raises
    ------
    CannotRun
        If the run is none that SQL can say, or as `fill_in_database` does.
    """
    exported = read_export(Path(run))
    source, key = exported.job.source, exported.filled.roles.key
    if not isinstance(source, DatabaseSource):
        raise CannotRun(
            "This run has read no database, so there is no table there to fill; write the query "
            "by em-impute export."
        )
    parts = exported.parts(table)
    place = DatabaseTarget(url=source.url, password=source.password, table=into)
    with opened(place, sparing=True) as session:
        target = session.find(split_table(into))
        return put_filled(session, exported.filled, existing(session, parts), target, key)


def _roles(
    schema: pa.Schema, model: GaussianModel, impute: Sequence[str] | None, key: Sequence[str]
) -> Roles:
    filled = set(model.columns if impute is None else impute)
    names = [name for name in schema.names if name in model.columns]
    decimals = {
        f.name: f.type.scale for f in schema if f.name in names and pa.types.is_decimal(f.type)
    }
    return Roles(
        tuple(schema.names),
        key=tuple(key),
        impute=tuple(name for name in names if name in filled),
        predictors=tuple(name for name in names if name not in filled),
        encodings=tuple(Numeric(name, scale=scale) for name, scale in decimals.items()),
    )


def _check_numbers(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Refuse columns with which a database cannot calculate."""
    for name in columns:
        if name not in schema.names:
            raise DatabaseError(f"the table has no column {name!r}")
        if not is_numeric(type_ := schema.field(name).type):
            raise DatabaseError(
                f"column {name!r} is of type {type_}, which has no arithmetic; leave it out, or "
                "make a column of numbers of it"
            )
