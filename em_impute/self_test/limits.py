"""Limits on the scores: whether the columns that they name can be tested, and which are missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import bdtr, ndtri, stdtrit

from em_impute.job import LEVEL_LIMITS, Job, JobError, Problem
from em_impute.job.mistakes import listed
from em_impute.job.options import SelfTestOptions
from em_impute.self_test.scores import LevelScores, NumberScores, overall_coverage, overall_ratio
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.objections import absence
from em_impute.tables.columns.roles import Roles
from em_impute.tables.snapshot import Snapshot

# Which limit to look for where another does not fit the kind of its column.
OF_NUMBERS, OF_LEVELS = "max_rmse_ratio", "min_accuracy"
# A limit is missed if chance explains it with less than this probability, over all columns.
CHANCE = 0.01
MAX_NAMED = 3

Limit = float | Mapping[str, float] | None
Scores = Sequence[NumberScores] | Sequence[LevelScores]


def check_limits(snapshot: Snapshot, roles: Roles, job: Job) -> None:
    """Check that every column which a limit names can be tested.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    job : Job

    Raises
    ------
    JobError
        With a problem for each that the table lacks, that is not filled, or that is of another
        kind than the limit.
    """
    if problems := list(_problems(snapshot, roles, job)):
        raise JobError(problems)


def limits_that_apply(
    snapshot: Snapshot, options: SelfTestOptions
) -> dict[str, float | dict[str, float]]:
    """Return the limits without columns that have no missing cell: these are not tested."""
    return {
        name: {c: at for c, at in limit.items() if snapshot.profile(c).missing}
        if isinstance(limit, Mapping)
        else limit
        for name, limit in options.limits.items()
    }


def _problems(snapshot: Snapshot, roles: Roles, job: Job) -> Iterator[Problem]:
    for limit, columns in job.self_test.limits.items():
        for column in columns if isinstance(columns, Mapping) else ():
            if message := _objection(snapshot, roles, limit, column):
                place = job.place("self_test", limit, column)
                yield Problem(place, f"self_test.{limit}: {message}")


def _objection(snapshot: Snapshot, roles: Roles, limit: str, column: str) -> str:
    if message := absence(snapshot, column):
        return message
    # A column that is filled as soon as it has a hole may have none tonight.
    filled = column in roles.impute or (
        column in roles.model_columns and not snapshot.profile(column).missing
    )
    if not filled:
        return f"column {column!r} is not filled, so it is not tested; remove the limit."
    if isinstance(roles.encoding(column), Numeric) == (limit in LEVEL_LIMITS):
        kind, other = (
            ("numbers", OF_NUMBERS) if limit in LEVEL_LIMITS else ("categories", OF_LEVELS)
        )
        return f"column {column!r} holds {kind}; use limits such as {other}."
    return ""


@dataclass(frozen=True)
class Limits:
    """What must hold for a table to be published, for all columns or by column; None for no limit.

    The last two are of categories, the others of numbers.
    """

    max_rmse_ratio: Limit = None
    min_coverage_95: Limit = None
    max_pit_distance: Limit = None
    min_accuracy: Limit = None
    min_accuracy_gain: Limit = None


def missed(
    numbers: Sequence[NumberScores], levels: Sequence[LevelScores], limits: Limits
) -> tuple[list[str], list[str]]:
    """Return the limits that are missed, and those that are in doubt, a sentence each.

    Parameters
    ----------
    numbers, levels : sequence of NumberScores, of LevelScores
    limits : Limits
    """
    refused, doubtful = [], []
    for rule in _RULES:
        limit: Limit = getattr(limits, rule.name)
        if limit is None:
            continue
        scores: Scores = levels if rule.of_levels else numbers
        doubtful += [
            f"No {untested} was tested, so {rule.name} was not checked."
            for untested in _untested(scores, limit, rule)
        ]
        found = _beyond(rule.find, scores, limit)
        surely = [finding for finding in found if finding.surely]
        perhaps = [finding for finding in found if not finding.column or finding.limit is not None]
        name = rule.name if isinstance(limit, Mapping) else f"{rule.name} ({limit:g})"
        if surely:
            refused.append(f"The self-test misses {name}: {rule.measured} is {_worst(surely)}.")
        elif perhaps:
            doubtful.append(
                f"The self-test is beyond {name}, but within chance: "
                f"{rule.measured} is {_worst(perhaps)}."
            )
    return refused, doubtful


@dataclass(frozen=True)
class _Finding:
    """A number beyond a limit: whose it is, by how much, and whether that is more than chance.

    `limit` is that of the column, where it has one of its own.
    """

    column: str
    shown: str
    excess: float
    surely: bool
    limit: float | None = None

    def __str__(self) -> str:
        own = "" if self.limit is None else f" (limit {self.limit:g})"
        return f"{self.shown} in {self.column or 'all columns together'}{own}"


_Find = Callable[[Sequence[Any], float, float], Iterator[_Finding]]
"""Finds the numbers beyond a limit, given the probability that chance may have in each column."""


def _untested(scores: Scores, limit: Limit, rule: _Rule) -> Iterator[str]:
    """What a limit is about of which no cell was tested."""
    if not isinstance(limit, Mapping):
        if not scores:
            yield "category" if rule.of_levels else "column of numbers"
        return
    tested = {one.column for one in scores}
    if lacking := [column for column in limit if column not in tested]:
        yield f"cell of {listed(lacking, MAX_NAMED, str)}"


def _beyond(find: _Find, scores: Scores, limit: Limit) -> list[_Finding]:
    """What is beyond a limit: of all columns together and of each, or of those that it names."""
    if not isinstance(limit, Mapping):
        return list(find(scores, limit or 0.0, CHANCE / max(len(scores), 1)))
    return [
        replace(finding, limit=limit[one.column])
        for one in scores
        if one.column in limit
        for finding in find([one], limit[one.column], CHANCE / len(limit))
        if finding.column
    ]


def _ratios_above(numbers: Sequence[NumberScores], limit: float, each: float) -> Iterator[_Finding]:
    total = sum(scores.cells for scores in numbers)
    ratios = [("", total, *overall_ratio(numbers), CHANCE)]
    ratios += [(s.column, s.cells, s.rmse_ratio, s.rmse_ratio_error, each) for s in numbers]
    for column, cells, ratio, error, chance in ratios:
        if ratio is not None and ratio > limit:
            off = math.log(ratio / limit)
            surely = error is not None and off > error * stdtrit(cells - 1, 1 - chance)
            yield _Finding(column, f"{ratio:.3g}", off, surely)


def _coverages_below(
    numbers: Sequence[NumberScores], limit: float, each: float
) -> Iterator[_Finding]:
    total = sum(scores.spread_cells for scores in numbers)
    coverages = [("", total, overall_coverage(numbers).at_95, CHANCE)]
    coverages += [(s.column, s.spread_cells, s.coverage.at_95, each) for s in numbers]
    for column, cells, coverage, chance in coverages:
        if coverage is not None and coverage < limit:
            surely = bdtr(round(coverage * cells), cells, limit) < chance
            yield _Finding(column, f"{coverage:.1%}", limit - coverage, bool(surely))


def _distances_above(
    numbers: Sequence[NumberScores], limit: float, each: float
) -> Iterator[_Finding]:
    for s in numbers:
        if s.pit_distance is not None and s.pit_distance > limit:
            # Dvoretzky, Kiefer & Wolfowitz (1956), with Massart's (1990) constant.
            by_chance = math.sqrt(math.log(2 / each) / (2 * s.spread_cells))
            off = s.pit_distance - limit
            yield _Finding(s.column, f"{s.pit_distance:.2g}", off, off > by_chance)


def _accuracies_below(
    levels: Sequence[LevelScores], limit: float, each: float
) -> Iterator[_Finding]:
    for s, chance in _with_all(levels, each):
        if s.right / s.cells < limit:
            surely = bdtr(s.right, s.cells, limit) < chance
            off = limit - s.right / s.cells
            yield _Finding(s.column, f"{s.right / s.cells:.1%}", off, bool(surely))


def _gains_below(levels: Sequence[LevelScores], limit: float, each: float) -> Iterator[_Finding]:
    for s, chance in _with_all(levels, each):
        if s.gain < limit:
            off = limit - s.gain
            surely = off > s.gain_error * -ndtri(chance)
            yield _Finding(s.column, f"{s.gain:.1%}", off, bool(surely))


def _with_all(levels: Sequence[LevelScores], each: float) -> Iterator[tuple[LevelScores, float]]:
    """All columns together, and each of them, with the probability that chance may have."""
    if levels:
        cells, right, usual = (
            sum(getattr(s, name) for s in levels) for name in ("cells", "right", "right_by_mode")
        )
        mended = sum(
            max(s.right - s.right_by_mode, 0) if s.mended is None else s.mended for s in levels
        )
        yield LevelScores("", cells, right, usual, mended), CHANCE
    yield from ((s, each) for s in levels)


def _worst(findings: Sequence[_Finding]) -> str:
    ranked = sorted(findings, key=lambda finding: (finding.column != "", -finding.excess))
    return listed([str(finding) for finding in ranked], MAX_NAMED, str)


@dataclass(frozen=True)
class _Rule:
    """A kind of limit: of numbers or of levels, on what, and how to find what is beyond it."""

    name: str
    of_levels: bool
    measured: str
    find: _Find


_RULES = (
    _Rule("max_rmse_ratio", False, "the RMSE relative to the mean's", _ratios_above),
    _Rule("min_coverage_95", False, "the share of test cells in 95% intervals", _coverages_below),
    _Rule("max_pit_distance", False, "the distance of the PIT from uniform", _distances_above),
    _Rule("min_accuracy", True, "the share of correct levels", _accuracies_below),
    _Rule(
        "min_accuracy_gain",
        True,
        "the gain in correct levels over the most frequent one",
        _gains_below,
    ),
)
