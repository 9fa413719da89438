"""The verdict on a run, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from em_impute.reporting.records import Verdict


def verdict_on(
    *,
    refusal: str | None,
    warnings: Sequence[str],
    imputed_cells: int,
    target: str,
    imputations: int = 1,
    left_cells: int = 0,
    unsettled: bool = False,
) -> Verdict:
    """Return the verdict on a run.

    Parameters
    ----------
    refusal : str or None
        The sentence that says why nothing was published; None if it was.
    warnings : sequence of str
        Sentences about what a reader should know before trusting the table, the most important
        first: the verdict has that one, and says how many there are.
    imputed_cells : int
        Cells that were filled.
    target : str
        Where the table went, or would have gone.
    imputations : int
        How many times each cell was filled.
    left_cells : int
        Missing cells that were left missing.
    unsettled : bool
        Whether it is not known what the target holds.
    """
    if refusal is not None and unsettled:
        return Verdict(
            "not published",
            f"{refusal} It is not known whether the target {target} holds this run's table: "
            "check it before running the job again.",
        )
    if refusal is not None:
        return Verdict("not published", f"{refusal} The target {target} was not changed.")
    left = f", {left_cells:,} {_were(left_cells)} left missing," if left_cells else ""
    times = f" {imputations} times" if imputed_cells and imputations > 1 else ""
    done = f"{_filled(imputed_cells)}{times}{left} and the table was written to {target}"
    if not warnings:
        return Verdict("published", f"{done}; no check warned.")
    if len(warnings) == 1:
        return Verdict("published with warnings", f"{done}. {warnings[0]}")
    first = f"The first of {len(warnings)} warnings: {warnings[0]}"
    return Verdict("published with warnings", f"{done}. {first}")


def _filled(cells: int) -> str:
    if cells == 0:
        return "No cell needed filling"
    return f"{cells:,} missing {'cell' if cells == 1 else 'cells'} {_were(cells)} filled"


def _were(cells: int) -> str:
    return "was" if cells == 1 else "were"
