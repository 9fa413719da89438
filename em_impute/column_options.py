"""The options of `EMImputer` about columns, as the job that they are: one meaning in both.

They are read, and their mistakes found, as those of a job file; the sentences then name the option
in the place of the job's key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from em_impute.job import CannotRun, Job, JobError, parse_job

PLACES: Mapping[str, tuple[str, str]] = {
    "impute": ("columns", "impute"),
    "predictors": ("columns", "predictors"),
    "key": ("columns", "key"),
    "group_by": ("columns", "group_by"),
    "transforms": ("columns", "transform"),
    "bounds": ("columns", "bounds"),
    "round": ("columns", "round"),
    "categories": ("columns", "categories"),
    "missing_values": ("source", "missing"),
    "back_transform": ("columns", "back_transform"),
    "bounds_violated": ("columns", "bounds_violated"),
    "min_group_rows": ("model", "min_group_rows"),
    "delta": ("imputation", "delta"),
    "tol": ("model", "tol"),
    "max_iter": ("model", "max_iter"),
    "acceleration": ("model", "acceleration"),
    "prior_rows": ("model", "prior"),
    "n_starts": ("model", "n_starts"),
    "sample": ("imputation", "method"),
    "random_state": ("imputation", "seed"),
}
"""Where a job has what is an option of `EMImputer`: section and key."""

# What a job needs besides: tables that have types, and no path that could be out of bounds.
_ELSEWHERE = {"url": "postgresql://nowhere/none", "table": "X"}
OPTION_OF = {f"{section}.{key}": option for option, (section, key) in PLACES.items()}
_PHRASES = (
    ("for example `transform:", "for example `transforms:"),
    ("or null where", "or None where"),
    ("expected true for", "expected True for"),
    ("or .predictors", "or predictors"),
    ("the job names", "the option names"),
)
_PLACE = re.compile(rf"\b({'|'.join(map(re.escape, OPTION_OF))})(?!\w)")


def job_of(options: Mapping[str, Any]) -> Job:
    """The job that says the same of its columns.

    Parameters
    ----------
    options : mapping of str to object
        Options of `EMImputer` by their names; None stands for the default.

    Raises
    ------
    ValueError
        With all the mistakes in the options.
    """
    content: dict[str, Any] = {
        "name": "EMImputer",
        "source": dict(_ELSEWHERE),
        "target": {**_ELSEWHERE, "table": "filled"},
    }
    for option, value in options.items():
        if value is not None:
            section, key = PLACES[option]
            content.setdefault(section, {})[key] = _READERS.get(option, _plain)(value)
    with in_python():
        return parse_job(json.dumps(content))


@contextmanager
def in_python() -> Iterator[None]:
    """Whatever a job would be refused for inside, as a ValueError that names the option."""
    try:
        yield
    except JobError as error:
        raise ValueError(
            "\n".join(in_words_of_python(one.message) for one in error.problems)
        ) from None
    except CannotRun as error:
        raise ValueError(in_words_of_python(str(error))) from None


def in_words_of_python(sentence: str) -> str:
    """A sentence about a job with the options in the place of its keys."""
    sentence = _PLACE.sub(lambda found: OPTION_OF[found[1]], sentence)
    for in_a_job, here in _PHRASES:
        sentence = sentence.replace(in_a_job, here)
    return sentence + (" Rows are counted from 1." if re.search(r"\brow \d", sentence) else "")


# --- Values of Python as a job file has them ------------------------------------------------------


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple() | np.ndarray() | pd.Index():
            return [_plain(one) for one in value]
        case bool() | np.bool_():
            return bool(value)
        case Integral():
            return int(value)
        case Real():
            number = float(value)
            return number if math.isfinite(number) else None
        case str() | None:
            return value
    return f"an object of type {type(value).__name__}"


def _levels(value: Any) -> Any:
    """Categories: levels that are no texts as a job writes them."""
    if not isinstance(value, Mapping):
        return _plain(value)
    return {str(name): _as_texts(levels) for name, levels in value.items()}


def _as_texts(levels: Any) -> Any:
    plain = _plain(levels)
    if not isinstance(plain, list):
        return plain
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in plain]


def _sentinels(value: Any) -> Any:
    """Missing values: one alone is a list of it; what is missing in any case is left out."""
    if isinstance(value, Mapping):
        return {str(name): _sentinels(some) for name, some in value.items()}
    plain = _plain(value)
    return [one for one in (plain if isinstance(plain, list) else [plain]) if one is not None]


_READERS = {"categories": _levels, "missing_values": _sentinels}
