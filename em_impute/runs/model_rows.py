"""What a run leaves of the rows that its model was fitted to: their summary, if it had it.

The rows that stayed on the workers of a cluster are out of reach after the fit.
"""

from __future__ import annotations

from pathlib import Path

from em_impute.gaussian import DividedSummary, PatternSummary
from em_impute.tables.run_folder import RunFolder

FAR_ROWS = (
    "The rows have too many patterns to be condensed and stayed on Dask's workers during the fit, "
    "so there are no standard errors and no tests of missing completely at random."
)


def keep_summary(summary: PatternSummary | DividedSummary, folder: RunFolder) -> str:
    """Leave what is at hand of a summary in the folder of a run, and say how large it is.

    Parameters
    ----------
    summary : PatternSummary or DividedSummary
    folder : RunFolder
    """
    if isinstance(summary, PatternSummary):
        summary.save(folder.summary)
        return f"their cells are missing in {len(summary.patterns):,} patterns."
    summary.observed.save(folder.observed)
    return (
        f"{summary.n_weighted_rows:,} weighted rows stay on the workers, in {summary.n_blocks} "
        "blocks."
    )


def kept_summary(path: Path, folder: RunFolder) -> PatternSummary | None:
    """A summary in the folder of a run; None where its rows stayed on workers."""
    return None if folder.observed.exists() else PatternSummary.load(path)


def notes_on_rows(folder: RunFolder) -> tuple[str, ...]:
    """What there is not in a run because it has not the rows; one sentence, or none."""
    return (FAR_ROWS,) if folder.observed.exists() else ()
