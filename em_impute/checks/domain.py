"""What a check is about: the columns that its options name, the rows of row_condition, a mask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from em_impute.job import MASK, Check

# Expectations that need no row, only how many there are; GX would want to see all of them.
ABOUT_ROW_COUNT = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}
# GX's own grammar for row_condition, whole: its parser ignores what follows a first comparison.
# The other grammar that GX offers, pandas', runs the text as code.
CONDITION_OPTIONS = {"row_condition", "condition_parser"}
CONDITION = re.compile(
    r"""col\("(?P<column>[^"`]+)"\)\s*
        (\.notnull\(\)
        |([<>]=?|[=!]=)\s*([+-]?\d+(\.\d*)?([eE][+-]?\d+)?|"[^"'`]+"|'[^"'`]+'))""",
    re.VERBOSE,
)
CONDITION_HELP = (
    'row_condition must be one comparison such as col("Month") > 5, '
    'col("Species") == "Adelie" or col("Month").notnull()'
)


def columns_of(checks: Sequence[Check], names: Sequence[str]) -> list[str]:
    """Those of a table's columns that the checks are about, or all of them where one is about all.

    Parameters
    ----------
    checks : sequence of Check
    names : sequence of str
        The table's columns.
    """
    checks = [check for check in checks if not counts_all_rows(check)]
    if any(not domain_of(check) or _may_read_more(check) for check in checks):
        return list(names)
    wanted = {text for check in checks for text in _texts_of(check)}
    return [name for name in names if name in wanted]


def counts_all_rows(check: Check) -> bool:
    """Whether a check is about how many rows there are, which is known without looking at any."""
    return check.expectation in ABOUT_ROW_COUNT and "row_condition" not in check.kwargs


def domain_of(check: Check) -> list[str]:
    """Return the columns that a check is about."""
    named = [check.kwargs.get(option) for option in ("column", "column_A", "column_B")]
    listed = check.kwargs.get("column_list")
    if isinstance(listed, list) and not check.expectation.startswith("expect_table_"):
        named += listed
    return [name for name in named if isinstance(name, str)]


def columns_read(check: Check) -> list[str]:
    """Return the columns whose cells a check reads: those of its row_condition too."""
    condition = CONDITION.fullmatch(str(check.kwargs.get("row_condition")))
    return domain_of(check) + ([condition["column"]] if condition else [])


def _may_read_more(check: Check) -> bool:
    """Whether the options do not tell by name which columns a check reads."""
    condition = check.kwargs.get("row_condition")
    unknown = condition is not None and not CONDITION.fullmatch(str(condition))
    return unknown or "column_index" in check.kwargs


def _texts_of(check: Check) -> Iterator[str]:
    """All texts among the options: a custom expectation may name columns in any of them."""
    yield from columns_read(check)
    for value in check.kwargs.values():
        yield from (text for text in as_list(value) if isinstance(text, str))


def as_list(value: object) -> list[Any]:
    """Return an option that may be one value or several as a list."""
    return value if isinstance(value, list) else [value]


def is_about_imputed(check: Check) -> bool:
    """Whether a check is about imputed cells, and leaves it to the job to say which these are."""
    imputed = check.expectation == "expect_imputed_distribution_to_match"
    return imputed and "mask_column" not in check.kwargs


def telling_imputed(check: Check, imputed: Sequence[str]) -> Check:
    """The check with the mask's bit of its column, if it is about imputed cells.

    Parameters
    ----------
    check : Check
    imputed : sequence of str
        The columns that are filled, in the order of the mask's bits.
    """
    if not is_about_imputed(check):
        return check
    bit = imputed.index(str(check.kwargs["column"]))
    kwargs = {**check.kwargs, "mask_column": MASK, "mask_bit": bit}
    return check.model_copy(update={"kwargs": kwargs})
