"""A first job for a table that nobody has described yet, with comments that give the reasons."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from em_impute.job import CannotRun, Job
from em_impute.job.legible import legible
from em_impute.runs import steps
from em_impute.runs.run import Loaded
from em_impute.tables.columns.doubts import find_doubts
from em_impute.tables.columns.proposals import Choice, Proposal, propose
from em_impute.tables.run_folder import RunFolder

# What an error about a CSV proposes to write into the source.
_PROPOSED = re.compile(r"Try `csv: (\{.*?\})`")
_PLAIN = re.compile(r"[A-Za-z/][\w./-]*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
# Comments begin here, where there is room.
_COMMENT = 34
_WIDTH = 100
_FILES = {".gz": "", ".zst": "", ".bz2": ""}


@dataclass(frozen=True)
class Draft:
    """A job for a table.

    Attributes
    ----------
    text : str
        The job file.
    table : Loaded
        As the job reads it; its snapshot is gone.
    proposal : Proposal
    """

    text: str
    table: Loaded
    proposal: Proposal


def draft(source: Mapping[str, Any], name: str | None = None) -> Draft:
    """Read a table, and write a job for it.

    Parameters
    ----------
    source : dict
        As in a job: ``{"path": ...}``, or ``{"url": ..., "table": ...}``.
    name : str, optional
        Of the job; by default as the table is called.

    Raises
    ------
    CannotRun
        If the table cannot be read.
    """
    about = {"name": name or _name(source), "source": dict(source), "target": _target(source)}
    with tempfile.TemporaryDirectory() as folder:
        table = _read(about, Path(folder))
        proposal = propose(table, table.roles)
    return Draft("\n".join(_lines(about, table, proposal)) + "\n", table, proposal)


def _name(source: Mapping[str, Any]) -> str:
    place = Path(str(source.get("path") or source.get("table")))
    stem = place.name.split(".")[0] if "path" in source else place.name.split(".")[-1]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:100] or "job"


def _target(source: Mapping[str, Any]) -> dict[str, Any]:
    """Beside the source, and in its format."""
    if "url" in source:
        return {"url": source["url"], "table": f"{source['table']}_filled"}
    path = Path(str(source["path"]))
    suffixes = [s for s in path.suffixes if s not in _FILES]
    suffix = suffixes[-1] if suffixes else ".parquet"
    return {"path": f"out/{_name(source)}{suffix}"}


def _read(about: dict[str, Any], folder: Path) -> Loaded:
    """Read the table; what its errors and doubts propose for the source is taken up."""
    source = about["source"]
    for attempt in range(3):
        job, place = _job(about), RunFolder(folder / str(attempt))
        place.path.mkdir()
        try:
            table = steps.load(job, place)
        except CannotRun as error:
            proposed = _PROPOSED.search(str(error))
            if proposed is None or "csv" in source:
                raise
            source["csv"] = YAML(typ="safe").load(proposed[1])
            continue
        if not (missing := _nines(table, job)) or "missing" in source:
            return table
        source["missing"] = missing
    return table


def _job(about: Mapping[str, Any]) -> Job:
    try:
        return Job.model_validate(about)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        sentence = first["msg"].removeprefix("Value error, ")
        raise CannotRun(f"{first['loc'][0]}.{first['loc'][-1]}: {sentence}") from None


def _nines(table: Loaded, job: Job) -> dict[str, list[str]]:
    """Numbers that stand for missing cells, by column."""
    doubted = {d.column for d in find_doubts(table, table.roles, job) if d.name == "nines"}
    return {
        column.name: [nines for nines, _ in column.nines]
        for column in table.columns
        if column.name in doubted
    }


# --- The file ----------------------------------------------------------------------------------


def _lines(about: Mapping[str, Any], table: Loaded, proposal: Proposal) -> Iterator[str]:
    cells = sum(column.missing for column in table.columns)
    yield f"# Written by em-impute init for {legible(table.source)}: {table.rows:,} rows,"
    yield f"# {len(table.columns):,} columns, {cells:,} missing cells. Each choice has its reason:"
    yield "# change what is not so. What the job would do: em-impute check. Run it: em-impute run."
    yield f"name: {about['name']}"
    yield "source:"
    yield from _mapping(about["source"])
    said = list(_columns(proposal))
    if any(not line.lstrip().startswith("#") for line in said):
        yield "columns:"
    yield from said
    yield "target:"
    yield from _mapping(about["target"])
    yield '# schedule: {cron: "0 3 * * *", timezone: UTC}   # every night, once it is deployed'


def _mapping(options: Mapping[str, Any]) -> Iterator[str]:
    reasons = {
        "csv": "as the file seems to be written",
        "missing": "nines at the edge of a column, in many cells",
    }
    for key, value in options.items():
        yield _commented(f"  {key}: {_flow(value)}", reasons.get(key, ""))


def _columns(proposal: Proposal) -> Iterator[str]:
    """The options, and below them what stays as it is."""
    if proposal.key:
        yield _commented(
            f"  key: {_flow(list(proposal.key))}", "no two rows have the same, and none lacks it"
        )
    if proposal.impute:
        yield from _names("impute", proposal.impute, "they have missing cells")
    else:
        yield "  # No column has missing cells that can be filled: as soon as one has, it is."
    if proposal.impute:
        yield from _names("predictors", proposal.predictors, "")
    yield from _choices("transform", proposal.transform)
    if proposal.transform.keys() & proposal.impute.keys():
        yield _commented("  back_transform: mean", "so that sums are right; the median is lower")
    yield from _choices("bounds", proposal.bounds)
    yield from _choices("categories", proposal.categories)
    if proposal.bounds:
        yield _commented("  bounds_violated: keep", "a later cell outside is kept, with a warning")
    if proposal.round:
        yield from _names("round", dict.fromkeys(proposal.round, ""), "whole numbers only")
    for name, choice in proposal.unbounded.items():
        yield f"  # Left out, as the error is larger with it: bounds: {_flow({name: choice.value})}"
    for name, reason in proposal.left.items():
        yield f"  # Left as it is: {legible(name)}, {reason}."
    for name, reason in proposal.groups.items():
        yield f"  # group_by: {_flow([name])} would fit a model to each: {reason}."


def _names(option: str, names: Mapping[str, str], reason: str) -> Iterator[str]:
    """A list of names: on one line if there is room and no name has a reason of its own."""
    line = f"  {option}: {_flow(list(names))}"
    if len(line) <= _WIDTH and not any(names.values()):
        yield _commented(line, reason)
        return
    yield _commented(f"  {option}:", reason)
    for name, why in names.items():
        yield _commented(f"    - {_flow(name)}", why)


def _choices(option: str, choices: Mapping[str, Choice]) -> Iterator[str]:
    if choices:
        yield f"  {option}:"
    for name, choice in choices.items():
        yield _commented(f"    {_flow(name)}: {_flow(choice.value)}", choice.reason)


def _commented(line: str, comment: str) -> str:
    return f"{line:<{_COMMENT}}  # {comment}" if comment else line


def _flow(value: object) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_flow, value))}]"
    if value is None:
        return "null"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
