"""The steps of a run as Prefect tasks, for flows of your own: `em_impute.plugin.tasks`."""

from em_impute.plugin.tasks import (
    check_input,
    check_output,
    fill,
    fit,
    load,
    open_run,
    publish,
    report,
    self_test,
)

__all__ = [
    "check_input",
    "check_output",
    "fill",
    "fit",
    "load",
    "open_run",
    "publish",
    "report",
    "self_test",
]
