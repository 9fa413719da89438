"""The tables of a job as assets of Prefect: its target, made of its source.

Their keys are the names that OpenLineage has for them, as addresses, without a user, a password or
a query.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from prefect.assets import Asset
from prefect.context import AssetContext
from prefect.states import Completed
from prefect.types.names import RESTRICTED_ASSET_CHARACTERS
from pydantic import ValidationError

from em_impute.job import Job
from em_impute.reporting.brief import in_brief
from em_impute.reporting.records import Report
from em_impute.runs.lineage.datasets import Name, source_of, target_of
from em_impute.tables.databases.logins import LoginError

_AS_KEY = str.maketrans(dict.fromkeys(RESTRICTED_ASSET_CHARACTERS, "_"))
# What of the report in brief an asset shows with each table that was published.
_SHOWN = ("job", "run", "date", "outcome", "verdict", "rows", "imputed_cells", "left_cells")


@dataclass(frozen=True)
class Assets:
    """The tables of a job; None of one that has no name as an asset."""

    source: Asset | None = None
    target: Asset | None = None

    def related(self) -> list[dict[str, str]]:
        """Both as resources that an event is related to, by their roles."""
        tables = {"source": self.source, "target": self.target}
        return [
            {"prefect.resource.id": asset.key, "prefect.resource.role": role}
            for role, asset in tables.items()
            if asset
        ]


def assets_of(job: Job) -> Assets:
    """The tables of a job as assets."""
    return Assets(_asset(source_of, job), _asset(target_of, job))


def _asset(name_of: Callable[[Job], Name], job: Job) -> Asset | None:
    """A table as an asset; None if its database is not to be had, or its name is too long."""
    with suppress(LoginError, ValidationError):
        return Asset(key=name_of(job).uri.translate(_AS_KEY))
    return None


def tell_materialized(assets: Assets, report: Report) -> None:
    """Emit what Prefect's own materializing tasks do: the target was made, of the source.

    Here, and not by such a task, since only the report knows the verdict, and whether the target
    holds the table of a run whose publishing was interrupted.
    """
    if assets.target is None:
        return
    brief: dict[str, Any] = asdict(in_brief(report))
    AssetContext(
        direct_asset_dependencies={assets.source} if assets.source else set(),
        downstream_assets={assets.target},
        materialized_by="em_impute",
        materialization_metadata={assets.target.key: {key: brief[key] for key in _SHOWN}},
    ).emit_events(Completed())
