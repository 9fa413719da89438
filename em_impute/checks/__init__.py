"""Whether a table may be filled, and whether the filled one may be published.

Three kinds of checks: the job's own (`great_expectations`) and those of a project's suites
(`project`), which `before` sees to be possible and `words` puts into sentences; `preconditions`,
without which there is nothing to estimate; and `invariants`: filling has changed nothing but the
holes. `validation` brings them together. `expectations` are ours for any suite of Great
Expectations.

One word, one thing: a `Check` is one expectation in a job, `Checks` is the job's section of them,
both of `em_impute.job`. A `CheckResult` is what one check of any kind has found, `Checked` all
results of one table with the verdict on it. No result holds a value of the data: only counts,
shares, column-wide numbers.
"""

from em_impute.checks.before import check_columns, check_rows, output_checks, verify_checks
from em_impute.checks.great_expectations import make_ready
from em_impute.checks.invariants import check_invariants, invariant
from em_impute.checks.preconditions import check_preconditions, doubts, misfits
from em_impute.checks.project import take
from em_impute.checks.results import Checked, CheckResult
from em_impute.checks.validation import check_input, check_output, columns_needed

__all__ = [
    "CheckResult",
    "Checked",
    "check_columns",
    "check_input",
    "check_invariants",
    "check_output",
    "check_preconditions",
    "check_rows",
    "columns_needed",
    "doubts",
    "invariant",
    "make_ready",
    "misfits",
    "output_checks",
    "take",
    "verify_checks",
]
