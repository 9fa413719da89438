"""The JSON file of a model: which family it is of, its version, and its numbers bit by bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from em_impute.gaussian.arrays import Floats

VERSION = 1

Model = TypeVar("Model")


def write_model(path: str | Path, family: str, content: Mapping[str, Any]) -> None:
    """Write what a model's `to_dict` gives.

    Parameters
    ----------
    path : str or Path
    family : str
        The format, which tells the family.
    content : mapping
    """
    known = {"format": family, "version": VERSION, **content}
    Path(path).write_text(json.dumps(known, indent=1, allow_nan=False), encoding="utf-8")


def read_model(
    path: str | Path, families: Mapping[str, Callable[[Mapping[str, Any]], Model]]
) -> Model:
    """Read a model of one of some families.

    Parameters
    ----------
    path : str or Path
    families : mapping of str to callable
        For each format what makes a model of its content.

    Raises
    ------
    ValueError
        If the file is no model of these families, is of another version, or does not hold together.
    """
    try:
        content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] not in families or content["version"] != VERSION:
            expected = " or ".join(families)
            raise ValueError(
                f"expected format {expected} version {VERSION}; a model of another family is read "
                "by its own class"
            )
        return families[content["format"]](content)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a model that can be read: {error}") from error


def numbers_of_json(content: Any) -> Floats:
    """What JSON says are numbers: text that looks like one is none."""
    array = np.array(content)
    if array.dtype.kind not in "fiu":
        raise ValueError("expected the parameters of a model to be numbers")
    return array.astype(np.float64)
