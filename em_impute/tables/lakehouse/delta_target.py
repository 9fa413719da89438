"""A Delta table as a target: what has been written and audited is published in one commit.

The commit has the run's name twice: as a transaction of an application (`txn`), by which the table
knows that it is in, and in its metadata, by which its history tells in which version. A run that
comes again finds it there and commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from em_impute.job import DeltaTarget
from em_impute.tables.lakehouse.delta import LOG, capitalised, explained, fault, find, where
from em_impute.tables.reading.arrow_files import stream_file
from em_impute.tables.snapshot import read_schema
from em_impute.tables.whole_files import reason
from em_impute.tables.writing import merging, partitions, publications
from em_impute.tables.writing.counterparts import counterpart
from em_impute.tables.writing.formats import restored
from em_impute.tables.writing.locks import TargetBusyError
from em_impute.tables.writing.places import check_writable
from em_impute.tables.writing.publications import Standing
from em_impute.tables.writing.staged import Published, Staged, TargetError

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, WriterProperties

NO_TABLE = -1
"""The version of a table that is not there."""

# The keys of a commit's metadata, and what the name of its transaction begins with.
_RUN, _ROWS, _SHA256 = "em_impute.run", "em_impute.rows", "em_impute.sha256"
# Commits after which a table has the same rows as before.
_UPKEEP = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD CONSTRAINT"}
# Rows of a group; the library's own have a million.
_GROUP = 131_072
# So often a commit is tried that others come before.
_TRIES = 10


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
    homeless = [field for field in schema if counterpart(field.type, "delta") is None]
    if homeless:
        columns = ", ".join(f"{field.name!r} of type {field.type}" for field in homeless)
        raise fault(target, f"Delta Lake cannot hold {columns}; convert in the source")
    partitions.check_columns(schema, target.partition_by)
    table = find(target)
    if table is not None:
        _check_fits(table, target, _schema(schema))


def _check_fits(table: DeltaTable, target: DeltaTarget, schema: pa.Schema) -> None:
    """Refuse a table that is there with other partitions, or other columns to add to."""
    by = tuple(table.metadata().partition_columns)
    if target.partition_by and target.partition_by != by:
        raise fault(
            target,
            f"it is partitioned by {', '.join(by) or 'nothing'}, and target.partition_by is "
            f"{', '.join(target.partition_by)}; name the same columns, or another table",
        )
    if target.mode != "replace":
        there = pa.schema(table.schema().to_arrow())
        plain = [(field.name, counterpart(field.type, "delta")) for field in there]
        merging.check_same_columns(pa.schema(plain), schema, str(target.path))
    elif absent := [name for name in by if name not in schema.names]:
        raise fault(target, f"it is partitioned by {absent[0]!r}, which the new table has not")


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
    from deltalake.exceptions import CommitFailedError

    for _ in range(_TRIES):
        table = find(target)
        if found := _found(table, target, run_id):
            return found
        if not staged.path.exists():
            raise fault(target, f"the staged file {staged.path} is gone; run the job again")
        _check_as_audited(table, staged, target)
        _check_not_overtaken(table, target, run_id)
        try:
            return _commit(table, staged, target, run_id)
        except CommitFailedError:
            continue  # another commit came first; perhaps it was this run's, by another worker
    raise TargetBusyError(
        f"Others committed to {target} each time that this run was about to, {_TRIES} times; run "
        "the job again when they have finished."
    )


def _check_as_audited(table: DeltaTable | None, staged: Staged, target: DeltaTarget) -> None:
    """Refuse a target that has moved since its rows were audited; appended rows go with any."""
    now = NO_TABLE if table is None else table.version()
    if staged.onto in (None, now) or target.mode == "append":
        return
    commits = [] if table is None else table.history(max(now - staged.onto, 1))
    operations = {commit.get("operation") for commit in commits if commit["version"] > staged.onto}
    if now < staged.onto or not operations <= _UPKEEP:
        was, is_ = (f"at version {at}" if at >= 0 else "not there" for at in (staged.onto, now))
        raise TargetError(
            f"{capitalised(target)} was changed by another program while this run was filling: it "
            f"was {was}, and is {is_}. Nothing was published; run the job again."
        )


def _check_not_overtaken(table: DeltaTable | None, target: DeltaTarget, run_id: str) -> None:
    if table is None or publications.data_date(run_id) is None:
        return
    latest = next((commit[_RUN] for commit in table.history() if _RUN in commit), None)
    publications.check_not_overtaken(run_id, [latest] if latest else [], str(target))


def _commit(
    table: DeltaTable | None, staged: Staged, target: DeltaTarget, run_id: str
) -> Published:
    schema = _schema(read_schema(staged.path))
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
    commits = now.history(_TRIES) if now else []
    at = next((commit["version"] for commit in commits if commit.get(_RUN) == run_id), None)
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
        custom_metadata={_RUN: run_id, _ROWS: str(staged.rows), _SHA256: staged.sha256},
        # The library would put its commit on top of others'; of those it has to be looked at first.
        max_commit_retries=0,
        app_transactions=[Transaction(_application(run_id), 1)],
    )


def _application(run_id: str) -> str:
    return f"em_impute/{run_id}"


def _schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a table in the types that Delta Lake has."""
    return pa.schema([(field.name, counterpart(field.type, "delta")) for field in schema])


@dataclass
class Rows:
    """The staged rows in the types of Delta Lake, streamed; `fault` is what came up meanwhile."""

    staged: Staged
    target: DeltaTarget
    fault: Exception | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns of these rows."""
        return _schema(read_schema(self.staged.path))

    def reader(self) -> pa.RecordBatchReader:
        """What the library streams them from."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        name, schema = "", self.schema
        try:
            for batch in stream_file(self.staged.path, self.staged.format):
                columns = []
                for name, type_ in zip(schema.names, schema.types, strict=True):
                    columns.append(restored(_decoded(batch.column(name)), type_))
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except pa.ArrowException:
            self.fault = fault(
                self.target,
                f"Delta Lake cannot hold every cell of {name!r}, such as a time of nanoseconds; "
                "convert in the source",
            )
            raise self.fault from None


def _decoded(cells: pa.Array) -> pa.Array:
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells


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
    rows, sha256 = int(known.get(_ROWS, 0)), str(known.get(_SHA256, ""))
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
        if commit.get(_RUN) == name:
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
