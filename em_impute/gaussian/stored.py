"""The file of a pattern summary. Every field is checked when it is read back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.condense import Condensed

FORMAT_VERSION = 1
FIELDS = ("columns", "patterns", "counts", "shift", "rows", "weights", "pattern_of_row")


def write_stored(
    file: BinaryIO, columns: Sequence[str], shift: Floats, condensed: Condensed
) -> None:
    """Write a summary as a NumPy ``.npz`` file.

    Parameters
    ----------
    file : binary file
        Open for writing.
    columns : sequence of str
        Names of the columns.
    shift : ndarray of shape (n_columns,)
        What the rows are relative to, NaN where no cell is observed.
    condensed : Condensed
        The rows.
    """
    fields: dict[str, Any] = {
        "version": np.array(FORMAT_VERSION),
        "columns": np.array(columns, dtype=str),
        "patterns": condensed.patterns,
        "counts": condensed.counts,
        "shift": shift,
        "rows": condensed.rows,
        "weights": condensed.weights,
        "pattern_of_row": condensed.pattern_of_row,
    }
    # Without weights of rows the file is as it was before there were any.
    if not np.array_equal(condensed.masses, condensed.counts):
        fields["masses"] = condensed.masses
    np.savez(file, **fields)


def read_stored(
    file: str | Path | BinaryIO, name: str
) -> tuple[tuple[str, ...], Floats, Condensed]:
    """The columns, the shift and the rows of a summary, as `write_stored` takes them.

    Parameters
    ----------
    file : str, Path or binary file
    name : str
        What it is called in errors.

    Raises
    ------
    ValueError
        If the file is no summary of this version, or its fields do not fit each other.
    """
    what = f"{name} is not a pattern summary of format version {FORMAT_VERSION}"
    try:
        fields = _fields(file)
    except (BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError):
        raise ValueError(f"{what}.") from None
    wrong = next(_mistakes(fields), None)
    if wrong is not None:
        raise ValueError(f"{what}: {wrong}. Make it again from the rows.")
    names = tuple(str(name) for name in fields.pop("columns"))
    return names, fields.pop("shift"), Condensed(**fields)


def _fields(file: str | Path | BinaryIO) -> dict[str, NDArray[Any]]:
    with np.load(file, allow_pickle=False) as stored:
        if int(stored["version"]) != FORMAT_VERSION:
            raise ValueError
        fields = {name: stored[name] for name in FIELDS}
        fields["masses"] = stored["masses"] if "masses" in stored else fields["counts"] * 1.0
        return fields


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
        "masses": ("f", (s,)),
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
    masses = fields["masses"]
    if not (np.isfinite(masses).all() and (masses > 0).all()):
        yield "masses has one that is not above 0"
    if (weights < 0).any() or not np.allclose(
        np.bincount(owner, weights**2, minlength=s), masses, rtol=1e-6, atol=0.0
    ):
        yield "weights is not that of as many rows as counts says"
