"""How far the means depend on hidden cells being like observed ones: a grid of shifts.

If the missing cells of a column, the share m of all, lie ``delta`` standard deviations from where
the model puts them, then its mean is ``mean + delta sd m`` (a pattern-mixture model; Rubin 1987).
The tipping delta is where that leaves the mean's own 95% interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from em_impute.gaussian.filling import FillingModel
from em_impute.reporting.means import MeanEstimate
from em_impute.reporting.numerals import significant

DELTAS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
MOST_SHIFTED = 20
MOST_SENTENCES = 3


@dataclass(frozen=True)
class ShiftedMean:
    """The mean of a column for all rows, with its missing cells shifted.

    Attributes
    ----------
    column : str
    missing_share : float
    sd : float
        What the missing cells are shifted by, times delta.
    means : tuple of float
        The mean for each delta.
    tipping : float or None
        How far the missing cells must be from where they are predicted, in `sd`, either way, for
        the mean to leave its 95% interval; None without one.
    """

    column: str
    missing_share: float
    sd: float
    means: tuple[float, ...]
    tipping: float | None = None

    @property
    def sentence(self) -> str:
        """When the mean leaves its interval; nothing where it has none."""
        if self.tipping is None:
            return ""
        return (
            f"The mean of {self.column} leaves its 95% interval only if its missing cells are on "
            f"average {significant(self.tipping, 2)} sd or more lower, or higher, than predicted."
        )


@dataclass(frozen=True)
class Sensitivity:
    """The imputed columns of numbers with the most missing cells, by delta.

    Attributes
    ----------
    deltas : tuple of float
    rows : tuple of ShiftedMean
        The column with the most missing cells first.
    total_columns : int
        Of so many that could be shown.
    left_out : int
        Imputed columns of numbers that are transformed or bounded: their cells do not all move by
        the same amount.
    """

    deltas: tuple[float, ...]
    rows: tuple[ShiftedMean, ...]
    total_columns: int
    left_out: int = 0

    @property
    def sentences(self) -> tuple[str, ...]:
        """On the means that would leave their intervals first."""
        known = [(row.tipping, row.sentence) for row in self.rows if row.tipping is not None]
        return tuple(sentence for _, sentence in sorted(known)[:MOST_SENTENCES])


def describe_sensitivity(
    model: FillingModel,
    means: Mapping[str, float],
    shares: Mapping[str, float],
    estimates: Sequence[MeanEstimate],
    left_out: int,
) -> Sensitivity | None:
    """Return how the means of some columns move with the cells that are missing.

    Parameters
    ----------
    model : FillingModel
        By whose standard deviations cells are shifted.
    means : mapping of str to float
        Means for all rows of the columns, with missing cells as they are predicted.
    shares : mapping of str to float
        Missing cells of each of these columns, as a share of all its cells.
    estimates : sequence of MeanEstimate
        Intervals of means, as far as there are any.
    left_out : int
        Columns that cannot be shown.

    Returns
    -------
    Sensitivity or None
        None if there is nothing to show.
    """
    half_widths = {estimate.column: estimate.high - estimate.estimate for estimate in estimates}
    sd = dict(zip(model.columns, model.sd.tolist(), strict=True))
    rows = []
    for name in sorted((name for name in means if sd[name] > 0), key=lambda name: -shares[name]):
        slope = sd[name] * shares[name]
        half = half_widths.get(name)
        rows.append(
            ShiftedMean(
                name,
                shares[name],
                sd[name],
                tuple(means[name] + delta * slope for delta in DELTAS),
                None if half is None else half / slope,
            )
        )
    if not rows:
        return None
    return Sensitivity(DELTAS, tuple(rows[:MOST_SHIFTED]), len(rows), left_out)
