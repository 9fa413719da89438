"""A filled table as a model of dbt, with the tests that say what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from em_impute.job.legible import legible
from em_impute.tables.databases.session import literal, quoted


@dataclass(frozen=True)
class DbtModel:
    """The files of a model of dbt.

    Attributes
    ----------
    name : str
        Of the model, and of the table that it makes.
    sql : str
        Its query, in which the table to fill is `place`.
    place : str
    parts : tuple of str
        That table for dbt: a model or a seed, or a source and its table.
    imputed, key : tuple of str
        Columns without missing cells, and those that identify a row.
    origin : str
        Where the query is from, in a sentence.
    """

    name: str
    sql: str
    place: str
    parts: tuple[str, ...]
    imputed: tuple[str, ...]
    key: tuple[str, ...]
    origin: str

    def files(self) -> dict[Path, str]:
        """The content of each file, by its path in a dbt project."""
        folder = Path("models") / self.name
        files = {
            folder / f"{self.name}.sql": self._model(),
            folder / "schema.yml": self._schema(),
            folder / "README.md": self._readme(),
        }
        if len(self.key) > 1:
            files[Path("tests") / f"{self.name}_key_is_unique.sql"] = self._unique()
        return files

    @property
    def _reference(self) -> str:
        """The table to fill, as dbt finds it."""
        function = "ref" if len(self.parts) == 1 else "source"
        return f"{{{{ {function}({', '.join(map(literal, self.parts))}) }}}}"

    def _model(self) -> str:
        before, after = self.sql.split(self.place)
        query = f"{_without_jinja(before)}{self._reference}{_without_jinja(after)}"
        return f"{{{{ config(materialized='table') }}}}\n{query}"

    def _schema(self) -> str:
        columns = [dict(self._column(name)) for name in self._tested()]
        model = {"name": self.name, "description": self.origin, "columns": columns}
        stream, yaml = StringIO(), YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.representer.sort_base_mapping_type_on_output = False
        yaml.dump({"version": 2, "models": [model]}, stream)
        return stream.getvalue()

    def _tested(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*self.key, *self.imputed)))

    def _column(self, name: str) -> Iterator[tuple[str, object]]:
        unique = ["unique"] if (name,) == self.key else []
        yield "name", name
        yield "quote", True
        yield "data_tests", [*unique, "not_null"]

    def _unique(self) -> str:
        names = _without_jinja(", ".join(map(quoted, self.key)))
        return (
            f"SELECT {names}, count(*) AS rows_of_key\nFROM {{{{ ref({literal(self.name)}) }}}}\n"
            f"GROUP BY {names}\nHAVING count(*) > 1\n"
        )

    def _readme(self) -> str:
        reads = ".".join(self.parts)
        return (
            f"`{self.name}` is the table `{reads}` with its missing cells filled. {self.origin}\n"
            f"Copy `models` and `tests` into a dbt project that knows `{reads}`, and run "
            f"`dbt build --select {self.name}`.\n"
            f"Tested to be not null: {', '.join(map(legible, self._tested()))}.\n"
        )


def _without_jinja(sql: str) -> str:
    """SQL in which nothing is an expression for dbt."""
    for opening in ("{{", "{%", "{#"):
        sql = sql.replace(opening, f"{{{{ '{opening[0]}' }}}}{opening[1]}")
    return sql
