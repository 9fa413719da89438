"""A run's model for a database: as one SELECT, or as a model of dbt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from em_impute.gaussian import GaussianModel
from em_impute.job import FAMILIES, CannotRun, DatabaseSource, Job, split_table
from em_impute.job.legible import legible
from em_impute.runs.manifest import read_manifest
from em_impute.runs.recompute import job_of
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.stored import load_roles
from em_impute.tables.databases.session import quoted
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.sql.dbt import DbtModel
from em_impute.tables.sql.dialects import DIALECTS
from em_impute.tables.sql.select import Filled, inexpressible

PLACE = "em_impute_table"


@dataclass(frozen=True)
class Export:
    """A run's model, in SQL.

    Attributes
    ----------
    filled : Filled
    job : Job
    origin : str
        Which run it is from, in a sentence.
    """

    filled: Filled
    job: Job
    origin: str

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a table needs."""
        return self.filled.roles.columns

    def sql(self, dialect: str, table: str | None = None) -> str:
        """The query, with a comment above it.

        Parameters
        ----------
        dialect : {"duckdb", "postgresql"}
        table : str, optional
            The table to fill; by default the one that the run has read.

        Raises
        ------
        CannotRun
            If there is no such default, or it is no table's name.
        """
        name = ".".join(map(quoted, self.parts(table)))
        return self._comment + self.filled.select(name, DIALECTS[dialect])

    def dbt(self, dialect: str, table: str | None = None) -> dict[Path, str]:
        """The files of a model of dbt, by their paths in a project.

        Parameters
        ----------
        dialect : {"duckdb", "postgresql"}
        table : str, optional
            The table to fill: a model or seed, or a source and its table with a dot between them.

        Raises
        ------
        CannotRun
            As `sql` does.
        """
        roles = self.filled.roles
        model = DbtModel(
            name=f"{re.sub(r'[^A-Za-z0-9_]+', '_', self.job.name)}_imputed",
            sql=self._comment + self.filled.select(PLACE, DIALECTS[dialect]),
            place=PLACE,
            parts=self.parts(table),
            imputed=roles.impute,
            key=roles.key,
            origin=self.origin,
        )
        return model.files()

    @property
    def _comment(self) -> str:
        names = ", ".join(quoted(legible(name)) for name in self.needed)
        return f"-- {legible(self.origin)}\n-- The table needs the columns {names}.\n"

    def parts(self, table: str | None = None) -> tuple[str, ...]:
        """The parts of the name of the table to fill; by default of the one that the run has read.

        Raises
        ------
        CannotRun
            If there is no such default, or it is no table's name.
        """
        source = self.job.source
        if table is None and isinstance(source, DatabaseSource):
            table = source.table
        if table is None:
            raise CannotRun(
                "Name the table to fill (--table); this run has read none of a database."
            )
        try:
            return split_table(table)
        except ValueError as error:
            raise CannotRun(f"The table to fill: {error}.") from None


def read_export(path: Path) -> Export:
    """Read the model of a run, and see that SQL can say it.

    Parameters
    ----------
    path : Path
        The run's folder.

    Raises
    ------
    CannotRun
        If it is no folder of a run that fitted a model, or SQL cannot say what that fills in.
    """
    folder = RunFolder(path)
    recorded = read_manifest(folder)
    job = job_of(recorded)
    if not folder.model.exists():
        raise CannotRun("This run fitted no model, so there is nothing to export.")
    if job.model.is_of_rows:
        raise CannotRun(
            f"This run's model is a {FAMILIES[job.model.family]}, and a query has a mean and a "
            "covariance; run the job with `model: {family: gaussian}`."
        )
    if not folder.columns.exists():
        raise CannotRun(
            f"{folder.columns} is not there, which says how each column takes part in the model; "
            "runs of earlier versions of em_impute did not keep it. Run the job again."
        )
    try:
        model = GaussianModel.load(folder.model)
        roles, schema = load_roles(folder.columns, job)
        if model.columns != roles.dimensions:
            raise ValueError(f"it has other columns than {folder.columns.name} says")
    except (OSError, ValueError) as error:
        raise CannotRun(f"The model of the run cannot be read: {error}") from None
    if reasons := list(_inexpressible(model, roles, job)):
        raise CannotRun(f"This run cannot be exported as SQL: {' '.join(reasons)}")
    origin = (
        f"The model of the run {recorded['run']} of {job.name}, by em_impute "
        f"{recorded['versions']['em_impute']}."
    )
    return Export(Filled.by(job, model, roles, schema), job, origin)


def _inexpressible(model: GaussianModel, roles: Roles, job: Job) -> Iterator[str]:
    """Why a query would not fill in what the run does, a sentence each."""
    if job.imputation.is_drawn:
        yield (
            f"it draws its cells (imputation.method: {job.imputation.method}), and a query gives "
            "expected values; run the job with `imputation: {method: mean}`."
        )
    if roles.group_by:
        yield (
            "its groups have models of their own (columns.group_by), and a query has one; run a "
            "job for each group."
        )
    yield from inexpressible(model)
