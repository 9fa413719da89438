"""The file of a pattern summary, read back: every field is looked at before it is believed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

FIELDS = ("columns", "patterns", "counts", "shift", "rows", "weights", "pattern_of_row")


@dataclass(frozen=True, eq=False)
class StoredSummary:
    """The fields of a summary's file, as `PatternSummary` keeps them."""

    columns: tuple[str, ...]
    patterns: NDArray[np.bool_]
    counts: NDArray[np.int64]
    shift: NDArray[np.float64]
    rows: NDArray[np.float64]
    weights: NDArray[np.float64]
    pattern_of_row: NDArray[np.int64]


def read_stored(path: str | Path, version: int) -> StoredSummary:
    """The summary in a file.

    Raises
    ------
    ValueError
        If the file is no summary of this version, or its fields do not fit each other.
    """
    what = f"{path} is no pattern summary of format version {version}"
    try:
        fields = _fields(path, version)
    except (BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError):
        raise ValueError(f"{what}.") from None
    wrong = next(_mistakes(fields), None)
    if wrong is not None:
        raise ValueError(f"{what} that holds together: {wrong}. Make it again from the rows.")
    names = tuple(str(name) for name in fields.pop("columns"))
    return StoredSummary(names, **fields)


def _fields(path: str | Path, version: int) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        if int(file["version"]) != version:
            raise ValueError
        return {name: file[name] for name in FIELDS}


def _mistakes(fields: dict[str, NDArray[Any]]) -> Iterator[str]:
    """Say what is wrong with the fields, as far as those before it are right."""
    s, m, p = (len(np.atleast_1d(fields[name])) for name in ("counts", "weights", "columns"))
    kinds = {
        "columns": ("U", (p,)),
        "patterns": ("b", (s, p)),
        "counts": ("i", (s,)),
        "shift": ("f", (p,)),
        "rows": ("f", (m, p)),
        "weights": ("f", (m,)),
        "pattern_of_row": ("i", (m,)),
    }
    for name, (kind, shape) in kinds.items():
        found = fields[name]
        if found.shape != shape or found.dtype.kind != kind:
            yield f"{name} is of shape {found.shape} and type {found.dtype}"
    patterns, counts, rows = fields["patterns"], fields["counts"], fields["rows"]
    weights, owner = fields["weights"], fields["pattern_of_row"]
    if len(set(fields["columns"].tolist())) != p:
        yield "columns has a name twice"
    if len({pattern.tobytes() for pattern in patterns}) != s:
        yield "patterns has one twice"
    if (counts < 1).any():
        yield "counts has one below 1"
    if m and (owner.min() < 0 or owner.max() >= s or (np.diff(owner) < 0).any()):
        yield "pattern_of_row is not in the order of the patterns"
    if not (np.isfinite(rows).all() and np.isfinite(weights).all()):
        yield "rows or weights has a number that is not finite"
    if np.isinf(fields["shift"]).any() or np.isnan(fields["shift"][patterns.any(axis=0)]).any():
        yield "shift has a number that is not finite"
    if rows[~patterns[owner]].any():
        yield "rows has cells where none is observed"
    if (weights < 0).any() or not np.allclose(
        np.bincount(owner, weights**2, minlength=s), counts, rtol=1e-6
    ):
        yield "weights is not that of as many rows as counts says"
