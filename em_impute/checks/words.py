"""Checks in words: what an expectation of Great Expectations (GX) expects, and what GX has seen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from em_impute.checks.domain import as_list, domain_of
from em_impute.job import Check
from em_impute.job.legible import one_line

# Options that `expected` has words of its own for, or that do not change what is expected.
_IN_OTHER_WORDS = {
    *("column", "column_A", "column_B", "column_list", "mostly", "row_condition"),
    *("min_value", "max_value", "strict_min", "strict_max"),
    *("condition_parser", "ignore_row_if", "notes"),
}

# Expectations whose observed_value is an aggregate that may be shown, and how it is written.
# That of the others can be a value of some row: a maximum, a quantile, a set.
_AGGREGATES: dict[str, str] = {
    "expect_column_mean_to_be_between": "mean {:.6g}",
    "expect_column_median_to_be_between": "median {:.6g}",
    "expect_column_stdev_to_be_between": "standard deviation {:.6g}",
    "expect_column_sum_to_be_between": "sum {:.6g}",
    "expect_column_unique_value_count_to_be_between": "{} distinct values",
    "expect_column_proportion_of_unique_values_to_be_between": "{:.1%} distinct",
    "expect_column_proportion_of_non_null_values_to_be_between": "{:.1%} observed",
    "expect_table_row_count_to_be_between": "{} rows",
    "expect_table_row_count_to_equal": "{} rows",
    "expect_table_column_count_to_be_between": "{} columns",
    "expect_table_column_count_to_equal": "{} columns",
}


def expected(check: Check, ours: str | None) -> str:
    """Return what a check expects: "Temp between -60 and 140 in at least 95% of rows".

    Parameters
    ----------
    check : Check
    ours : str or None
        What the expectation itself says, if it is one of ours.
    """
    kwargs = check.kwargs
    if description := kwargs.get("description"):
        return one_line(str(description))
    mostly, condition = kwargs.get("mostly", 1), kwargs.get("row_condition")
    share = "" if mostly == 1 else f" in at least {_percent(mostly)} of rows"
    where = f" where {condition}" if condition else ""
    return one_line((ours or _statement(check)) + share + where)


def _statement(check: Check) -> str:
    subject = one_line(", ".join(domain_of(check)), 80)
    match check.expectation:
        case "expect_column_values_to_be_between":
            return f"{subject} {_range(check.kwargs, str)}"
        case "expect_column_to_exist":
            return f"{subject} exists"
        case "expect_column_values_to_not_be_null":
            return f"{subject} observed"
        case "expect_column_proportion_of_non_null_values_to_be_between":
            return f"{_range(check.kwargs, _percent)} of {subject} observed"
    return f"{subject}: {_plain_words(check)}" if subject else _plain_words(check)


def _plain_words(check: Check) -> str:
    """Turn the name of any expectation into words: "values match regex ^A", "mean at least 5"."""
    name = re.sub("^expect_(column_)?", "", check.expectation).replace("_to_not_be_", "_not_")
    words = [re.sub("_to(_be)?(?=_|$)|_between$", "", name).replace("_", " ")]
    words += [_range(check.kwargs, str)] if name.endswith("_between") else []
    words += [_option_words(k, v) for k, v in check.kwargs.items() if k not in _IN_OTHER_WORDS]
    return " ".join(word for word in words if word)


def _option_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"({name.replace('_', ' ')})" if value else ""
    if isinstance(value, dict):
        return ""
    return ", ".join(map(str, as_list(value)))


def _range(kwargs: Mapping[str, Any], write: Callable[[Any], str]) -> str:
    least, most = kwargs.get("min_value"), kwargs.get("max_value")
    above = "above" if kwargs.get("strict_min") else "at least"
    below = "below" if kwargs.get("strict_max") else "at most"
    if least is not None and most is not None and (above, below) == ("at least", "at most"):
        return f"between {write(least)} and {write(most)}"
    lower = [] if least is None else [f"{above} {write(least)}"]
    upper = [] if most is None else [f"{below} {write(most)}"]
    return " and ".join(lower + upper)


def _percent(share: Any) -> str:
    return f"{100 * share:g}%" if isinstance(share, int | float) else str(share)


def observed(check: Check, success: bool, result: Mapping[str, Any]) -> str:
    """Return what GX has seen, in aggregates only.

    Parameters
    ----------
    check : Check
    success : bool
    result : mapping
        GX's own, of which a value of the data is not shown.
    """
    if "element_count" in result:
        return _observed_rows(result)
    name = check.expectation
    if name not in _AGGREGATES:
        return "passed" if success else "failed"
    value = result.get("observed_value")
    known = value is not None and math.isfinite(value)
    return _AGGREGATES[name].format(value) if known else "nothing to compute it from"


def _observed_rows(result: Mapping[str, Any]) -> str:
    missing = int(result.get("missing_count") or 0)
    rows, unexpected = int(result["element_count"]) - missing, int(result["unexpected_count"])
    not_judged = f", {missing} missing" if missing else ""
    if not rows:
        return f"no row to judge{not_judged}"
    return f"{unexpected} of {rows} rows unexpected ({unexpected / rows:.1%}){not_judged}"
