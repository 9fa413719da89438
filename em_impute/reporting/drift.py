"""How the estimates have changed since an earlier run, and whether by more than chance.

A change is reported as drift if it is larger than the job's threshold *and* larger than two samples
from one population would be expected to differ. For the latter, standard errors are those of
independent samples with the observed cells of each run; the normal quantile is that of one false
alarm in `NIGHTS` runs over all the comparisons together (Bonferroni). Tails that are heavier than
the normal's are allowed for, as for an elliptical distribution (Muirhead 1982, section 1.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.arrays import Bools, Floats, Ints
from em_impute.reporting.numerals import significant
from em_impute.tables.digest import finite

NIGHTS = 1000
MAX_SENTENCES = 20
# Correlations nearer to 1 than this are as good as 1.
HIGHEST_CORRELATION = 1.0 - 1e-9


@dataclass(frozen=True, eq=False)
class Estimated:
    """The estimates of one run.

    Attributes
    ----------
    run : str
    started : str
    rows : int
    model : GaussianModel
    observed : ndarray of shape (n_columns,), int64
        Observed cells of each column of the model.
    kurtosis : ndarray of shape (n_columns,), optional
        Fourth standardised moments of the columns, as the model sees them; by default 3, which is
        the normal's.
    """

    run: str
    started: str
    rows: int
    model: GaussianModel
    observed: Ints
    kurtosis: Floats | None = None


@dataclass(frozen=True)
class Change:
    """How one column of the model has changed.

    Attributes
    ----------
    column : str
    mean : float or None
        Change of the mean in standard deviations of the earlier run; None where that is 0.
    sd_ratio : float or None
        Standard deviation over the earlier one.
    missing_before, missing : float
        Fraction of the column's cells that were, and are, missing.
    moved : tuple of str
        Which of "mean", "sd" and "missing" have moved by more than the threshold and chance.
    """

    column: str
    mean: float | None
    sd_ratio: float | None
    missing_before: float
    missing: float
    moved: tuple[str, ...] = ()


@dataclass(frozen=True)
class CorrelationChange:
    """How the correlation of two columns has changed."""

    first: str
    second: str
    before: float
    now: float
    moved: bool = False


@dataclass(frozen=True)
class Drift:
    """The change of the estimates since an earlier run.

    Attributes
    ----------
    run, started : str
        The earlier run.
    rows : int
        Its rows.
    threshold : float or None
        Which changes matter: of a mean in sd, of a sd as a fraction, of a correlation, of a missing
        share as Cohen's h. None if none does.
    columns : tuple of Change
        Columns that are in both models, in the order of the later one.
    correlation : CorrelationChange or None
        The largest change of a correlation.
    new_columns, gone_columns : tuple of str
        Columns of one model that the other does not have.
    sentences : tuple of str
        What has moved, a sentence each, the most important first; empty if nothing has.
    date : str
        The earlier run's data date, where that is an earlier one.
    move_on : tuple of str
        Columns that are not compared, because every table holds other cells there: times, counters
        and identifiers.
    """

    run: str
    started: str
    rows: int
    threshold: float | None
    columns: tuple[Change, ...]
    correlation: CorrelationChange | None = None
    new_columns: tuple[str, ...] = ()
    gone_columns: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    date: str = ""
    move_on: tuple[str, ...] = ()

    @property
    def since(self) -> str:
        """Which run the estimates are compared with, in words."""
        return f"the run of {self.date}" if self.date else "the last published run"

    @property
    def drifted(self) -> bool:
        """Whether anything has moved by more than the threshold and chance."""
        return bool(self.sentences)

    @property
    def warning(self) -> str:
        """All that has moved, in one sentence; empty if nothing has."""
        if not self.sentences:
            return ""
        rest = len(self.sentences) - 1
        more = f", and {rest} other change{'s' if rest > 1 else ''}" if rest else ""
        first = self.sentences[0].removesuffix(".")
        return f"Drift since {self.since}, {self.run}: {first}{more}."


def describe_drift(before: Estimated, now: Estimated, threshold: float | None) -> Drift:
    """Compare the estimates of two runs.

    Parameters
    ----------
    before, now : Estimated
    threshold : float or None
        Which changes matter, as in `Drift`.
    """
    shared = [name for name in now.model.columns if name in set(before.model.columns)]
    pair = _Shared.of(before, now, shared)
    limit = np.inf if threshold is None else threshold
    moved = _moved(pair, limit)
    correlations = _correlations(pair, limit)
    columns = tuple(
        Change(
            name,
            finite(pair.mean[j]),
            finite(pair.sd_ratio[j]),
            float(pair.missing[0][j]),
            float(pair.missing[1][j]),
            tuple(what for what, which in moved.items() if which[j]),
        )
        for j, name in enumerate(shared)
    )
    return Drift(
        run=before.run,
        started=before.started,
        rows=before.rows,
        threshold=threshold,
        columns=columns,
        correlation=correlations[0] if correlations else None,
        new_columns=tuple(n for n in now.model.columns if n not in set(shared)),
        gone_columns=tuple(n for n in before.model.columns if n not in set(shared)),
        sentences=_at_most(
            list(_sentences(columns, [c for c in correlations if c.moved])), MAX_SENTENCES
        ),
    )


@dataclass(frozen=True, eq=False)
class _Shared:
    """What two runs say of the columns that both have; arrays are in the order of these."""

    names: Sequence[str]
    rows: tuple[int, int]
    observed: tuple[Floats, Floats]
    mean: Floats
    sd_ratio: Floats
    correlation: tuple[Floats, Floats]
    excess: Floats

    @classmethod
    def of(cls, before: Estimated, now: Estimated, names: Sequence[str]) -> _Shared:
        at = [[run.model.columns.index(name) for name in names] for run in (before, now)]
        (mean, later), (sd, later_sd) = (
            [getattr(run.model, what)[j] for run, j in zip((before, now), at, strict=True)]
            for what in ("mean", "sd")
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            moved, ratio = (later - mean) / sd, later_sd / sd
        return cls(
            names,
            (before.rows, now.rows),
            (before.observed[at[0]].astype(float), now.observed[at[1]].astype(float)),
            moved,
            ratio,
            (
                before.model.correlation[np.ix_(at[0], at[0])],
                now.model.correlation[np.ix_(at[1], at[1])],
            ),
            # Where a table has an outlier and the other has none, the tails are those of the first.
            np.max(
                [
                    np.zeros(len(names)),
                    *(
                        run.kurtosis[j] - 3.0
                        for run, j in zip((before, now), at, strict=True)
                        if run.kurtosis is not None
                    ),
                ],
                axis=0,
            ),
        )

    @property
    def missing(self) -> tuple[Floats, Floats]:
        """Missing fractions before and now."""
        return (
            1.0 - self.observed[0] / max(self.rows[0], 1),
            1.0 - self.observed[1] / max(self.rows[1], 1),
        )

    @property
    def quantile(self) -> float:
        """How many standard errors chance alone may make of the largest of all the changes."""
        p = len(self.names)
        comparisons = max(3 * p + p * (p - 1) // 2, 1)
        return float(-ndtri(0.5 / (NIGHTS * comparisons)))


def _moved(pair: _Shared, threshold: float) -> dict[str, Bools]:
    """For each kind of change, which columns have moved."""
    one_over_n, later = 1.0 / np.maximum(pair.observed, 1.0)
    one_over_rows = 1.0 / np.maximum(pair.rows, 1.0)
    log_ratio = np.log(pair.sd_ratio, where=pair.sd_ratio > 0, out=np.full(len(pair.names), np.nan))
    errors = {
        "missing": np.sqrt(one_over_rows.sum()),
        "mean": np.sqrt(one_over_n + pair.sd_ratio**2 * later),
        "sd": np.sqrt((1.0 + pair.excess / 2.0) * (one_over_n + later) / 2.0),
    }
    changes = {"missing": _cohens_h(*pair.missing), "mean": pair.mean, "sd": log_ratio}
    limits = {"missing": threshold, "mean": threshold, "sd": math.log1p(threshold)}
    return {
        what: _beyond(changes[what], limits[what], pair.quantile * error)
        for what, error in errors.items()
    }


def _correlations(pair: _Shared, threshold: float) -> list[CorrelationChange]:
    """The largest change of a correlation, and those that have moved, the largest first."""
    first, second = np.triu_indices(len(pair.names), 1)
    before, now = (matrix[first, second] for matrix in pair.correlation)
    known = np.isfinite(before) & np.isfinite(now)
    first, second, before, now = first[known], second[known], before[known], now[known]
    if not len(first):
        return []
    n = np.maximum([np.minimum(seen[first], seen[second]) - 3.0 for seen in pair.observed], 1.0)
    tails = 1.0 + np.maximum(pair.excess[first], pair.excess[second]) / 3.0
    error = pair.quantile * np.sqrt(tails * (1.0 / n).sum(axis=0))
    moved = _beyond(now - before, threshold, 0.0)
    moved &= _beyond(_fisher_z(now) - _fisher_z(before), 0.0, error)
    order = np.argsort(-np.abs(now - before), kind="stable")
    shown = [order[0], *(k for k in order[1:] if moved[k])]
    return [
        CorrelationChange(
            pair.names[first[k]],
            pair.names[second[k]],
            float(before[k]),
            float(now[k]),
            bool(moved[k]),
        )
        for k in shown
    ]


def _beyond(change: Floats, threshold: float, error: Floats | float) -> Bools:
    """Which changes are larger than both; one that is not known is not."""
    beyond: Bools = np.abs(np.nan_to_num(change, nan=0.0)) > np.maximum(threshold, error)
    return beyond


def _cohens_h(before: Floats, now: Floats) -> Floats:
    """Distance of two fractions on the scale on which their errors do not depend on them."""
    h: Floats = 2.0 * (np.arcsin(np.sqrt(now)) - np.arcsin(np.sqrt(before)))
    return h


def _fisher_z(correlation: Floats) -> Floats:
    z: Floats = np.arctanh(np.clip(correlation, -HIGHEST_CORRELATION, HIGHEST_CORRELATION))
    return z


def _sentences(
    columns: Sequence[Change], correlations: Sequence[CorrelationChange]
) -> Iterator[str]:
    def moved(what: str, size: Callable[[Change], float]) -> list[Change]:
        return sorted((c for c in columns if what in c.moved), key=lambda c: -abs(size(c)))

    for c in moved("missing", lambda c: c.missing - c.missing_before):
        yield f"{c.missing:.1%} of {c.column!r} is missing; it was {c.missing_before:.1%}."
    for c in moved("mean", lambda c: c.mean or 0.0):
        assert c.mean is not None
        way = "rose" if c.mean > 0 else "fell"
        yield f"The mean of {c.column!r} {way} by {significant(abs(c.mean), 2)} sd."
    for c in moved("sd", lambda c: math.log(c.sd_ratio or 1.0)):
        yield f"The sd of {c.column!r} is {significant(c.sd_ratio, 2)} times what it was."
    for r in correlations:
        names = f"{r.first!r} and {r.second!r}"
        yield f"The correlation of {names} went from {r.before:.2f} to {r.now:.2f}."


def _at_most(sentences: Sequence[str], limit: int) -> tuple[str, ...]:
    if len(sentences) <= limit:
        return tuple(sentences)
    return (*sentences[: limit - 1], f"There are {len(sentences) - limit + 1} more such changes.")
