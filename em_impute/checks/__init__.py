"""Whether a table may be filled, and whether the filled one may be published.

Three kinds of checks, all answered with `CheckResult`: the job's own (`checks`), carried out by
Great Expectations; preconditions, without which there is nothing to estimate; and invariants, that
filling has changed nothing but the holes. The verdict on them is `Checked`. No result holds a value
of the data: only counts, shares, column-wide numbers.
"""

from em_impute.checks.great_expectations import (
    check_columns,
    check_input,
    check_output,
    check_rows,
    columns_needed,
    output_checks,
    verify_checks,
)
from em_impute.checks.invariants import check_invariants
from em_impute.checks.preconditions import doubts, misfits, preconditions
from em_impute.checks.results import Checked, CheckResult

__all__ = [
    "CheckResult",
    "Checked",
    "check_columns",
    "check_input",
    "check_invariants",
    "check_output",
    "check_rows",
    "columns_needed",
    "doubts",
    "misfits",
    "output_checks",
    "preconditions",
    "verify_checks",
]
