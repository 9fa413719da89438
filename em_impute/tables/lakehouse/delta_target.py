"""A Delta table as a target: what has been written and audited is published in one commit.

The commit has the run's name twice: as a transaction of an application (`txn`), by which the table
knows that it is in, and in its metadata, by which its history tells in which version. A run that
comes again finds it there and commits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from em_impute.job import DeltaTarget
from em_impute.tables.lakehouse import commits
from em_impute.tables.lakehouse.commits import ROWS, RUN, SHA256, Rows, in_types
from em_impute.tables.lakehouse.delta import LOG, explained, find, where
from em_impute.tables.lakehouse.delta_source import files_of, opened
from em_impute.tables.lakehouse.versions import NO_TABLE, Brought, capitalised, fault
from em_impute.tables.snapshot import read_schema
from em_impute.tables.whole_files import reason
from em_impute.tables.writing import merging, publications
from em_impute.tables.writing.places import check_writable
from em_impute.tables.writing.publications import Standing
from em_impute.tables.writing.staged import Published, Staged, TargetError

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, WriterProperties

# Commits after which a table has the same rows as before.
_UPKEEP = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD CONSTRAINT"}
# Rows of a group; the library's own have a million.
_GROUP = 131_072
# A run looks for its own commit among so many of the newest.
_LATEST = 10


def version(target: DeltaTarget) -> int:
    """The newest version of a target; `NO_TABLE` where there is none.

    Raises
    ------
    TargetError, OSError
    """
    table = find(target)
    return NO_TABLE if table is None else table.version()


def check_target(target: DeltaTarget) -> None:
    """Make sure that a target can be written; make its folder, and that of its log, if need be.

    By the latter a run knows its own again whose first commit was not reached.

    Raises
    ------
    TargetError
        If something else is there, or its folder cannot be made or written.
    OSError
        If its store does not answer.
    """
    table = find(target)
    if not isinstance(target.path, Path):
        return
    log = target.path / LOG
    try:
        is_new = log.exists() or not target.path.exists() or not any(target.path.iterdir())
        if table is None and not is_new:
            raise fault(
                target,
                f"its folder holds other files and no {LOG}; name a new one, or a Delta table",
            )
        check_writable(log)
    except OSError as error:
        raise fault(target, f"its folder refuses ({reason(error)})") from None


def check_schema(schema: pa.Schema, target: DeltaTarget) -> None:
    """Make sure that a target can hold every column of a table.

    Raises
    ------
    TargetError
        Naming the columns that it cannot hold, or those of its partitions.
    MergeError
        If the table that is there, to which rows are to be added, has other columns.
    """
    commits.check_columns(schema, target)
    table = find(target)
    if table is not None:
        _check_fits(table, target, in_types(schema, target))


def _check_fits(table: DeltaTable, target: DeltaTarget, schema: pa.Schema) -> None:
    """Refuse a table that is there with other partitions, or other columns to add to."""
    by = table.metadata().partition_columns
    commits.check_partitions(by, target)
    if target.mode != "replace":
        there = in_types(pa.schema(table.schema().to_arrow()), target)
        merging.check_same_columns(there, schema, str(target.path))
    else:
        commits.check_partitions_stay(by, target, schema)


# --- Publishing --------------------------------------------------------------------------------


def publish(staged: Staged, target: DeltaTarget, run_id: str) -> Published:
    """Commit a staged table to a target, once, however often and from wherever it is called.

    Parameters
    ----------
    staged : Staged
    target : DeltaTarget
    run_id : str
        What is published is recorded under this name; the same again changes nothing.

    Raises
    ------
    TargetError
        If the table cannot be written, or another program has changed it since the audit.
    TargetBusyError
        If others commit to it again and again.
    MergeError
        If the table that is there has other columns, or a key is missing or not unique.
    OSError
        If its store does not answer.
    """
    return commits.once(partial(_attempt, staged, target, run_id), target)


def _attempt(staged: Staged, target: DeltaTarget, run_id: str) -> Published | None:
    from deltalake.exceptions import CommitFailedError

    table = find(target)
    if found := _found(table, target, run_id):
        return found
    commits.check_staged(staged, target)
    _check_as_audited(table, staged, target)
    _check_not_overtaken(table, target, run_id)
    try:
        return _commit(table, staged, target, run_id)
    except CommitFailedError:
        return None  # another commit came first; perhaps it was this run's, by another worker


def _check_as_audited(table: DeltaTable | None, staged: Staged, target: DeltaTarget) -> None:
    """Refuse a target that has moved since its rows were audited; appended rows go with any."""
    now = NO_TABLE if table is None else table.version()
    if staged.onto in (None, now) or target.mode == "append":
        return
    history = [] if table is None else table.history(max(now - staged.onto, 1))
    operations = {commit.get("operation") for commit in history if commit["version"] > staged.onto}
    if now < staged.onto or not operations <= _UPKEEP:
        raise commits.moved(target, staged.onto, now)


def _check_not_overtaken(table: DeltaTable | None, target: DeltaTarget, run_id: str) -> None:
    if table is None or publications.data_date(run_id) is None:
        return
    latest = next((commit[RUN] for commit in table.history() if RUN in commit), None)
    publications.check_not_overtaken(run_id, [latest] if latest else [], str(target))


def _commit(
    table: DeltaTable | None, staged: Staged, target: DeltaTarget, run_id: str
) -> Published:
    schema = in_types(read_schema(staged.path), target)
    if target.mode == "upsert":
        merging.check_keys(staged)
    if table is not None:
        _check_fits(table, target, schema)
    rows = Rows(staged, target)
    properties = _properties(staged, run_id)
    with explained(target):
        try:
            if table is not None and target.mode == "upsert":
                _merge(table, rows.reader(), staged.key, properties)
            else:
                _write(table, rows.reader(), target, properties)
        except Exception:
            if rows.fault:
                raise rows.fault from None
            raise
    staged.path.unlink(missing_ok=True)
    now = find(target)
    latest = now.history(_LATEST) if now else []
    at = next((commit["version"] for commit in latest if commit.get(RUN) == run_id), None)
    return Published(str(target), staged.rows, staged.sha256, version=at)


def _write(
    table: DeltaTable | None,
    rows: pa.RecordBatchReader,
    target: DeltaTarget,
    properties: CommitProperties,
) -> None:
    from deltalake import write_deltalake

    if table is None:
        _create(rows, target, properties)
    elif target.mode == "append":
        write_deltalake(
            table, rows, mode="append", commit_properties=properties, writer_properties=_groups()
        )
    else:
        write_deltalake(
            table,
            rows,
            mode="overwrite",
            schema_mode="overwrite",
            partition_by=table.metadata().partition_columns,
            commit_properties=properties,
            writer_properties=_groups(),
        )


def _create(rows: pa.RecordBatchReader, target: DeltaTarget, properties: CommitProperties) -> None:
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    address, options = where(target)
    try:
        write_deltalake(
            address,
            rows,
            mode="error",
            partition_by=list(target.partition_by),
            storage_options=options,
            commit_properties=properties,
            writer_properties=_groups(),
        )
    except DeltaError:
        if find(target) is None:
            raise
        raise CommitFailedError from None  # another has made it meanwhile


def _merge(
    table: DeltaTable, rows: pa.RecordBatchReader, key: Sequence[str], properties: CommitProperties
) -> None:
    names = ('"{}"'.format(name.replace('"', '""')) for name in key)
    (
        table.merge(
            rows,
            " AND ".join(f"old.{name} = new.{name}" for name in names),
            source_alias="new",
            target_alias="old",
            commit_properties=properties,
            writer_properties=_groups(),
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )


def _groups() -> WriterProperties:
    """How files are written: whoever writes or reads one holds a group of its rows in memory."""
    from deltalake import WriterProperties

    return WriterProperties(max_row_group_size=_GROUP)


def _properties(staged: Staged, run_id: str) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        custom_metadata=commits.properties_of(staged, run_id),
        # The library would put its commit on top of others'; of those it has to be looked at first.
        max_commit_retries=0,
        app_transactions=[Transaction(_application(run_id), 1)],
    )


def _application(run_id: str) -> str:
    return f"em_impute/{run_id}"


# --- What was published ------------------------------------------------------------------------


def find_published(target: DeltaTarget, run_id: str) -> Published | None:
    """What the table's own log says that a run has published there; None if nothing.

    Raises
    ------
    TargetError, OSError
    """
    return _found(find(target), target, run_id)


def _found(table: DeltaTable | None, target: DeltaTarget, run_id: str) -> Published | None:
    state, commit = _standing(table, run_id)
    if state == "in doubt" and target.mode == "append":
        raise TargetError(in_doubt(target, run_id))
    # A version that has taken the place of this run's is newer.
    if state != "held" and not (state == "replaced" and target.mode == "replace"):
        return None
    known: Mapping[str, Any] = commit or {}
    rows, sha256 = int(known.get(ROWS, 0)), str(known.get(SHA256, ""))
    return Published(str(target), rows, sha256, before=True, version=known.get("version"))


def standing(target: DeltaTarget, name: str) -> Standing:
    """Whether the newest version holds what was published under a name.

    Raises
    ------
    TargetError, OSError
    """
    return _standing(find(target), name)[0]


def _standing(table: DeltaTable | None, name: str) -> tuple[Standing, Mapping[str, Any] | None]:
    """The same, and the commit, where the history still has it.

    Commits that RESTORE has undone do not count: of their rows none is left.
    """
    if table is None or table.transaction_version(_application(name)) is None:
        return "gone", None
    state: Standing = "held"
    restored_to: int | None = None
    for commit in table.history():
        if restored_to is not None and commit["version"] > restored_to:
            continue
        if commit.get(RUN) == name:
            return state, commit
        operation = str(commit.get("operation"))
        parameters = commit.get("operationParameters", {})
        if operation == "RESTORE":
            if not str(parameters.get("version")).isdigit():
                return "in doubt", None
            restored_to = int(parameters["version"])
        elif operation.startswith("CREATE OR REPLACE") or parameters.get("mode") == "Overwrite":
            state = "replaced"
    # A log is cleared after some weeks; the transactions are kept.
    return ("held" if restored_to is None else "gone"), None


def in_doubt(target: DeltaTarget, name: str) -> str:
    """Say that a target may not hold what was published there, and what to do."""
    return (
        f"{capitalised(target)} was restored to a moment, so that {name}, which was published "
        "there, may no longer be in it; nothing was done. If its rows are gone, restore the same "
        "by RESTORE TABLE ... TO VERSION AS OF, which says which they are, and run the job again. "
        "`mode: upsert` would replace them."
    )


def brought(target: DeltaTarget, version: int) -> Brought | None:
    """The rows that the commit of a version has brought; None if the table is not there any more.

    Raises
    ------
    TargetError, OSError
    """
    table = find(target, version)
    before = find(target, version - 1) if version else None
    newest = find(target)
    if table is None or newest is None:
        return None
    with explained(target):
        old = files_of(before) if before else frozenset[str]()
    return Brought(opened(table, target, without=old).batches, newest.version())
