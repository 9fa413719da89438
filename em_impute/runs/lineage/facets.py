"""What events say of tables: columns, counts of missing cells, checks, which cell is from which.

No value of a cell is in them: of what the specification has for numbers, only counts are filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_dataset,
    data_quality_metrics_input_dataset,
    schema_dataset,
)

from em_impute.checks import Checked
from em_impute.job import CLUSTERS, IMPUTATION, MASK
from em_impute.runs.lineage.datasets import Name
from em_impute.tables.columns.roles import Roles
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.writing.staged import Staged

InputField = column_lineage_dataset.InputField
Transformation = column_lineage_dataset.Transformation

SEVERITIES = {"critical": "error", "warning": "warn", "info": "info"}
"""Ours in OpenLineage's words."""
# A table of more pairs of a filled column and a predictor has its predictors named once for all.
MOST_PAIRS = 10_000
_AS_IT_IS = Transformation("DIRECT", "IDENTITY", "as it was read", False)
_OBSERVED = Transformation(
    "DIRECT", "TRANSFORMATION", "observed cells as they were read, missing ones filled", False
)
_PREDICTS = Transformation(
    "INDIRECT", "CONDITIONAL", "predicts the missing cells, by the model", False
)
_GROUPS = Transformation(
    "INDIRECT", "GROUP_BY", "says by which group's model missing cells are filled", False
)
_COMPUTED = Transformation("DIRECT", "TRANSFORMATION", "computed by the model", False)
_MARKED = Transformation("INDIRECT", "CONDITIONAL", "tells which cells were missing", False)


def schema_read(snapshot: Snapshot) -> schema_dataset.SchemaDatasetFacet:
    """The columns of a table as it was read, with the names of Arrow's types."""
    return _schema([(column.name, column.type) for column in snapshot.columns])


def schema_written(schema: pa.Schema) -> schema_dataset.SchemaDatasetFacet:
    """The columns of a filled table."""
    return _schema([(field.name, str(field.type)) for field in schema])


def _schema(columns: Sequence[tuple[str, str]]) -> schema_dataset.SchemaDatasetFacet:
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name, type_, ordinal_position=i)
        for i, (name, type_) in enumerate(columns, start=1)
    ]
    return schema_dataset.SchemaDatasetFacet(fields)


def counts_read(
    snapshot: Snapshot,
) -> data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet:
    """How many rows a table has, and how many cells of each column are missing."""
    return data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
        columnMetrics={
            column.name: data_quality_metrics_input_dataset.ColumnMetrics(nullCount=column.missing)
            for column in snapshot.columns
        },
        rowCount=snapshot.rows,
    )


def counts_written(
    snapshot: Snapshot, staged: Staged
) -> data_quality_metrics_dataset.DataQualityMetricsDatasetFacet:
    """The same of the filled table, whose missing cells are those that are left."""
    filled = dict(staged.imputed)
    return data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
        columnMetrics={
            column.name: data_quality_metrics_dataset.ColumnMetrics(
                nullCount=(column.missing - filled.get(column.name, 0)) * staged.imputations
            )
            for column in snapshot.columns
        },
        rowCount=staged.rows,
    )


def checked(results: Checked) -> data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet:
    """Every check of a table, with its severity and what it has seen, in aggregates."""
    return data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
        [
            data_quality_assertions_dataset.Assertion(
                assertion=check.name,
                success=check.success,
                column=check.column,
                severity=SEVERITIES[check.severity],
                expected=check.expected,
                actual=check.observed,
            )
            for check in results.results
        ]
    )


def columns_from(source: Name, roles: Roles) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    """Of which columns of the source each column of the filled table is made, and how.

    Parameters
    ----------
    source : Name
    roles : Roles
    """
    predictors = dict.fromkeys(roles.model_columns, _PREDICTS)
    predictors |= dict.fromkeys(roles.group_by, _GROUPS)
    for_all = len(roles.impute) * len(predictors) > MOST_PAIRS

    def inputs(own: dict[str, Transformation]) -> list[InputField]:
        return [
            InputField(source.namespace, source.name, name, [transformation])
            for name, transformation in own.items()
        ]

    def of(name: str) -> dict[str, Transformation]:
        if name not in roles.impute:
            return {name: _AS_IT_IS}
        return ({} if for_all else predictors) | {name: _OBSERVED}

    fields = {name: of(name) for name in roles.columns} | dict(_added(roles))
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={name: column_lineage_dataset.Fields(inputs(own)) for name, own in fields.items()},
        dataset=inputs(predictors) if for_all else [],
    )


def _added(roles: Roles) -> Iterator[tuple[str, dict[str, Transformation]]]:
    """The columns that only the filled table has, but for the number of an imputation."""
    for name in roles.added:
        if name == MASK:
            yield name, dict.fromkeys(roles.impute, _MARKED)
        elif name != IMPUTATION:
            assert name in {*CLUSTERS, *roles.score_names}
            yield name, dict.fromkeys(roles.model_columns, _COMPUTED)
