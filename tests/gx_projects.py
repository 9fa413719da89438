"""A project of Great Expectations as its users have one: suites, checkpoints, a table."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
from conftest import ROOT
from great_expectations.checkpoint import SlackNotificationAction, UpdateDataDocsAction
from great_expectations.expectations.row_conditions import Column

from em_impute.expectations import ExpectImputedDistributionToMatch

HOOK = "GX_HOOK"
"""The environment variable of the webhook."""

NIGHTLY = [
    gxe.ExpectTableRowCountToEqual(value=153),
    gxe.ExpectColumnValuesToNotBeNull(column="Ozone", notes="What the model is for."),
    gxe.ExpectColumnValuesToBeBetween(column="Temp", min_value=60, severity="warning"),
    gxe.ExpectColumnValuesToBeBetween(
        column="Wind", min_value=0, row_condition=Column("Month") > 5, severity="info"
    ),
    ExpectImputedDistributionToMatch(column="Solar.R", max_mean_difference=3),
]
RAW = [gxe.ExpectColumnMaxToBeBetween(column="Temp", min_value=0, max_value=90)]


SUITES: dict[str, list[gxe.Expectation]] = {"nightly": NIGHTLY, "raw": RAW}


def make_project(parent: Path, suites: dict[str, list[gxe.Expectation]] = SUITES) -> Path:
    """The folder `gx` with suites, and a checkpoint for each and for all together."""
    context = gx.get_context(mode="file", project_root_dir=parent)
    shutil.copy(ROOT / "data/airquality.csv", parent)
    source = context.data_sources.add_pandas_filesystem("files", base_directory=parent)
    asset = source.add_csv_asset("airquality")
    table = asset.add_batch_definition_path("all", path="airquality.csv")
    actions = [
        SlackNotificationAction(name="alert", slack_webhook=f"${{{HOOK}}}"),
        UpdateDataDocsAction(name="docs"),
    ]
    definitions = []
    for name, expectations in suites.items():
        suite = gx.ExpectationSuite(name, [each.copy() for each in expectations])
        definition = gx.ValidationDefinition(
            name=f"{name}_of_file", data=table, suite=context.suites.add(suite)
        )
        definitions.append(context.validation_definitions.add(definition))
        context.checkpoints.add(
            gx.Checkpoint(
                name=name,
                validation_definitions=[definitions[-1]],
                actions=actions,
                result_format="SUMMARY",
            )
        )
    context.checkpoints.add(gx.Checkpoint(name="all", validation_definitions=definitions))
    return parent / "gx"


def change(file: Path, **changes: Any) -> None:
    """Change the JSON of a suite or a checkpoint by hand."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def content(project: Path) -> dict[str, str]:
    """The project's files but for those that GX keeps out of git: results and Data Docs."""
    return {
        str(file.relative_to(project)): sha256(file.read_bytes()).hexdigest()
        for file in project.rglob("*")
        if file.is_file() and "uncommitted" not in file.parts
    }
