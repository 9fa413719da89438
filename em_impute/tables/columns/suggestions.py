"""What `em-impute init` would have chosen for columns of which a job says nothing, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from em_impute.job import Imputation, Job, JobError
from em_impute.job.columns import Columns
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.proposals import Proposal, propose
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.snapshot import Snapshot


@dataclass(frozen=True)
class Suggestion:
    """What a job might say of a column.

    Attributes
    ----------
    columns : tuple of str
        One; of a key all of its columns.
    reason : str
        What was seen.
    options : dict of str to object
        What options of the job's `columns` would hold for it; of those that are lists of columns,
        whether it would be in them.
    """

    columns: tuple[str, ...]
    reason: str
    options: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """All of it, on a line."""
        wanted = " and ".join(self._wanted(*option) for option in self.options.items())
        return f"{', '.join(self.columns)}: {self.reason}; {wanted} would suit."

    def _wanted(self, option: str, value: object) -> str:
        if value is False:
            return f"leaving it out of `{option}`"
        if option == "predictors":
            return "naming it in `predictors`"
        if value is True:
            return f"`{option}: [{', '.join(self.columns)}]`"
        return f"`{option}: {json.dumps(value)}`".replace('"', "")


def find_suggestions(table: Snapshot, roles: Roles, job: Job) -> tuple[Suggestion, ...]:
    """Find what a first job would say of columns where this one says nothing.

    Parameters
    ----------
    table : Snapshot
    roles : Roles
        Those that the job gives.
    job : Job
    """
    said = job.columns
    silent = {"columns": Columns(key=said.key), "imputation": Imputation()}
    try:
        plain = assign_roles(table, job.model_copy(update=silent))
    except JobError:
        return ()  # a first job could not be written either
    proposal = propose(table, plain, said.key, draws=job.imputation.method != "mean")
    found = list(_of_columns(proposal, roles, said))
    placed = {*(said.impute or ()), *(said.predictors or ()), *said.group_by, *said.categories}
    if proposal.key and not said.key and not placed & {*proposal.key}:
        reason = "no two rows have the same, and none lacks it"
        found.insert(0, Suggestion(proposal.key, reason, {"key": True}))
    return tuple(found)


def _of_columns(proposal: Proposal, roles: Roles, said: Columns) -> Iterator[Suggestion]:
    for name in roles.columns:
        if name in {*proposal.key, *said.group_by, *said.categories}:
            continue
        choices = dict(_parts(name, proposal, roles, said)) or dict(
            _treatment(name, proposal, roles, said)
        )
        if choices:
            reason = "; ".join(dict.fromkeys(reason for _, reason in choices.values()))
            options = {option: value for option, (value, _) in choices.items()}
            yield Suggestion((name,), reason, options)


_Choices = Iterator[tuple[str, tuple[object, str]]]


def _parts(name: str, proposal: Proposal, roles: Roles, said: Columns) -> _Choices:
    """Whether a column should be in another list, where the job does not write that list."""
    for option, named in (("impute", said.impute), ("predictors", said.predictors)):
        if name in proposal.left and named is None and name in getattr(roles, option):
            yield option, (False, proposal.left[name])
    predicts = name in proposal.predictors and name not in proposal.categories
    if predicts and said.predictors is None and name not in roles.model_columns:
        yield "predictors", (True, proposal.predictors[name])


def _treatment(name: str, proposal: Proposal, roles: Roles, said: Columns) -> _Choices:
    """How the model should take a column."""
    choice = proposal.categories.get(name)
    if choice and _may_be_categories(name, proposal, roles, said):
        yield "categories", (choice.value, choice.reason)
        return
    encoding = roles.encoding(name)
    if choice or name not in roles.model_columns or not isinstance(encoding, Numeric):
        return
    filled = name in roles.impute
    if name not in {*said.transform, *said.bounds}:
        if choice := proposal.transform.get(name):
            yield "transform", (choice.value, choice.reason)
        if filled and (choice := proposal.bounds.get(name)):
            yield "bounds", (choice.value, choice.reason)
    if filled and name in proposal.round and not encoding.whole:
        yield "round", (True, "whole numbers only")


def _may_be_categories(name: str, proposal: Proposal, roles: Roles, said: Columns) -> bool:
    """Whether the option would change what a run does, and no other one that the job sets."""
    if name in {*said.transform, *said.bounds}:
        return False
    if name in roles.model_columns:
        return isinstance(roles.encoding(name), Numeric)
    return (said.impute if name in proposal.impute else said.predictors) is None
