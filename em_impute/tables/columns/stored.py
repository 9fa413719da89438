"""The parts of a run's columns as a file: what its model, which is numbers only, does not say."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from em_impute.job import Job
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import Encoding
from em_impute.tables.columns.numbers import Instant
from em_impute.tables.columns.options import numeric_of
from em_impute.tables.columns.roles import Roles
from em_impute.tables.whole_files import written_whole

FORMAT_VERSION = 1


def save_roles(roles: Roles, schema: pa.Schema, path: Path) -> None:
    """Write what `load_roles` needs besides the job: types, parts, and the levels of categories.

    Parameters
    ----------
    roles : Roles
    schema : Schema
        Of the table as it was read.
    path : Path
    """
    categories = [one for one in roles.encodings if isinstance(one, Nominal | Ordinal)]
    content = {
        "version": FORMAT_VERSION,
        "impute": roles.impute,
        "predictors": roles.predictors,
        "levels": {one.column: one.levels for one in categories},
        "counts": {one.column: one.counts for one in categories if isinstance(one, Ordinal)},
        "schema": base64.b64encode(schema.remove_metadata().serialize()).decode(),
    }
    with written_whole(path) as half_written:
        half_written.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_roles(path: Path, job: Job) -> tuple[Roles, pa.Schema]:
    """The parts of a run's columns, and the table's schema, as `save_roles` wrote them.

    Parameters
    ----------
    path : Path
    job : Job
        That of the run.

    Raises
    ------
    OSError, ValueError
        If the file is not there, or was not written by this version's `save_roles`.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        if content["version"] != FORMAT_VERSION:
            raise ValueError(f"expected version {FORMAT_VERSION}")
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(content["schema"])))
        roles = Roles(
            tuple(schema.names),
            key=job.columns.key,
            impute=tuple(content["impute"]),
            predictors=tuple(content["predictors"]),
            group_by=job.columns.group_by,
            mask=job.imputation.mask,
            multiple=job.imputation.is_multiple,
            encodings=tuple(
                _encoding(name, schema.field(name).type, content, job)
                for name in (*content["impute"], *content["predictors"])
            ),
        )
    except (KeyError, TypeError, pa.ArrowException) as error:
        raise ValueError(str(error)) from None
    return roles, schema


def _encoding(name: str, type_: pa.DataType, content: Mapping[str, Any], job: Job) -> Encoding:
    if name in content["counts"]:
        return Ordinal(name, tuple(content["levels"][name]), tuple(content["counts"][name]))
    if name in content["levels"]:
        return Nominal(name, tuple(content["levels"][name]))
    return Instant(name) if pa.types.is_temporal(type_) else numeric_of(job, name, type_)
