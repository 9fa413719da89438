"""Exact linear relations between columns: a total and its parts, a column twice, shares of 100.

Where columns determine each other the likelihood has no maximum: it grows without end as the
covariance becomes singular along the relation. A small prior finds the rest of the model and, in
the directions in which it leaves next to no spread, the columns that may be related. Whether they
are is for the rows to say that show all of these columns: a relation holds in each of them, or it
is none. The model is then made singular along the relations, to the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.e_step import Part, WeightedRows
from em_impute.gaussian.linalg import correlation_of
from em_impute.gaussian.parameters import Parameters, Standardisation

# A direction of less spread than this, in correlation units, may be a relation.
SUSPECT_EIGENVALUE = 1e-4
# By how much the rows may miss a relation, in standard deviations: root mean square, and any one.
TYPICAL_MISS, LARGEST_MISS = 3e-7, 1e-4
# A relation is believed of so many more rows than it has columns.
SPARE_ROWS = 10
# A column of a smaller part than this in a direction has none; of one that is known exactly.
PART, EXACT_PART = 1e-3, 1e-7
# Coefficients this close to a number of up to so many decimals are that number.
SAME_NUMBER, MOST_DECIMALS = 1e-7, 4
# What sums of a few numbers lose, of the largest of them.
ROUNDING = 1e-13
# Terms that a sentence has room for.
MOST_TERMS = 8


@dataclass(frozen=True)
class Relation:
    """``sum coefficients * columns = constant``, in every row that shows these columns.

    Attributes
    ----------
    columns : ndarray of shape (k,), int64
        Indices into the columns that vary; the first has coefficient 1.
    coefficients : ndarray of shape (k,)
        On the original scale.
    constant : float
    n_rows : float
        Rows that show them all, or the sum of their weights.
    """

    columns: Ints
    coefficients: Floats
    constant: float
    n_rows: float

    def sentence(self, names: Sequence[str]) -> str:
        """The relation in words; `names` are those of the columns that vary."""
        quoted = [f"'{names[j]}'" for j in self.columns]
        if self.constant and (self.coefficients > 0).all():
            equation = f"{_terms(self.coefficients, quoted)} = {self.constant:.6g}"
        else:
            rest = _terms(-self.coefficients[1:], quoted[1:], self.constant)
            equation = f"{quoted[0]} = {rest}"
        number = f"{self.n_rows:.10g} " if float(self.n_rows).is_integer() else ""
        return (
            f"{equation} in each of the {number}rows that show these columns: filled cells "
            "keep to it."
        )


def find_relations(
    rows: WeightedRows, covariance: Floats, scaling: Standardisation
) -> tuple[Relation, ...]:
    """The relations that hold in every row.

    Parameters
    ----------
    rows : WeightedRows
        Of the columns that vary, standardised.
    covariance : ndarray of shape (p, p)
        Of a fit with a small prior: where to look.
    scaling : Standardisation
        For the original scale.
    """
    found: list[Relation] = []
    normals = np.zeros((len(covariance), 0))
    for involved in _involved(rows, covariance):
        # Fewer columns are shown together by more rows: each of these has to agree.
        shown = _rows_that_show(rows, involved)
        exact = _without_spread(shown)
        if exact.shape[1] != 1:
            continue
        normal = np.zeros(len(covariance))
        normal[involved] = exact[:, 0]
        normal -= normals @ (normals.T @ normal)
        if np.linalg.norm(normal) > PART:  # else it follows from the others
            normals = np.column_stack([normals, normal / np.linalg.norm(normal)])
            found.append(_on_original_scale(shown, involved, exact[:, 0], scaling))
    return tuple(found)


def make_exact(
    parameters: Parameters, relations: Sequence[Relation], scaling: Standardisation
) -> Parameters:
    """The parameters without spread along the relations, which the mean obeys.

    Parameters
    ----------
    parameters : tuple of ndarray
        Mean (p,) and covariance (p, p).
    relations : sequence of Relation
    scaling : Standardisation
        For the original scale, on which the relations are.
    """
    mean, covariance = parameters
    centre, scale = scaling.centre[scaling.varying], scaling.scale[scaling.varying]
    normals = np.zeros((len(mean), len(relations)))
    offsets = np.zeros(len(relations))
    for i, relation in enumerate(relations):
        normals[relation.columns, i] = relation.coefficients * scale[relation.columns]
        # Sums of large numbers that cancel keep their digits where each is exact.
        offsets[i] = relation.constant - relation.coefficients @ centre[relation.columns]
    basis, triangle = np.linalg.qr(normals)
    off = np.linalg.solve(triangle.T, offsets) - basis.T @ mean
    kept = np.eye(len(mean)) - basis @ basis.T
    exact = kept @ covariance @ kept
    return mean + basis @ off, (exact + exact.T) / 2


@dataclass(frozen=True)
class _Shown:
    """The rows that show some columns: a factor (k, k) of their scatter, mean, sum of weights."""

    factor: Floats
    mean: Floats
    n: float


def _involved(rows: WeightedRows, covariance: Floats) -> Iterator[Ints]:
    """Yield sets of columns between which there may be one relation each."""
    for group, thin in _suspects(covariance):
        if _enough(shown := _rows_that_show(rows, group)):
            yield from (group[part] for part in _supports(_without_spread(shown), EXACT_PART))
            continue
        for rough in (group[part] for part in _supports(thin, PART)):
            exact = _without_spread(_rows_that_show(rows, rough))
            yield from (rough[part] for part in _supports(exact, EXACT_PART))


def _suspects(covariance: Floats) -> Iterator[tuple[Ints, Floats]]:
    """Yield groups of columns, and the directions (k, r) in which they have next to no spread."""
    eigenvalues, vectors = np.linalg.eigh(correlation_of(covariance))
    thin = vectors[:, eigenvalues < SUSPECT_EIGENVALUE]
    linked = np.abs(thin @ thin.T) > PART
    left = linked.diagonal().copy()
    while left.any():
        group = np.zeros(len(left), dtype=bool)
        group[left.argmax()] = True
        while (grown := linked[group].any(axis=0)).sum() > group.sum():
            group = grown
        within, weights, _ = np.linalg.svd(thin[group], full_matrices=False)
        yield np.flatnonzero(group), within[:, weights > 0.5]
        left &= ~group


def _rows_that_show(rows: WeightedRows, columns: Ints) -> _Shown:
    """What the rows say of these columns that show all of them."""

    def shown(part: Part) -> tuple[Floats, Floats, float]:
        mine = part.patterns[:, columns].all(axis=1)
        chosen = np.repeat(mine, np.diff(part.starts))
        return part.rows[chosen][:, columns], part.weights[chosen], float(part.counts[mine].sum())

    def sums(part: Part) -> tuple[Floats, float]:
        z, weights, n = shown(part)
        return weights @ z, n

    total, n = rows.total(sums)
    mean = total / (n or 1.0)

    def factor_of(part: Part) -> Floats:
        z, weights, _ = shown(part)
        return np.asarray(np.linalg.qr(z - np.multiply.outer(weights, mean), mode="r"))

    factor = np.zeros((0, len(columns)))
    for more in rows.map(factor_of):
        factor = np.asarray(np.linalg.qr(np.concatenate([factor, more]), mode="r"))
    return _Shown(factor, mean, n)


def _enough(shown: _Shown) -> bool:
    return shown.n >= len(shown.mean) + SPARE_ROWS


def _without_spread(shown: _Shown) -> Floats:
    """Directions (k, r) along which these rows do not vary, to rounding."""
    if not _enough(shown):
        return np.zeros((len(shown.mean), 0))
    spreads, directions = np.linalg.svd(shown.factor)[1:]
    none = spreads <= min(LARGEST_MISS, TYPICAL_MISS * np.sqrt(shown.n))
    basis: Floats = directions[none].T
    return basis


def _supports(basis: Floats, least: float) -> Iterator[Ints]:
    """Yield which columns take part in each of some vectors that span the same space.

    Each of the vectors is 0 in a column of every other one, so that few columns take part.
    """
    vectors, left = basis.T.copy(), list(range(basis.shape[1]))
    while left:
        within = np.abs(vectors[left])
        i, j = np.unravel_index(within.argmax(), within.shape)
        pivot = left.pop(int(i))
        vectors[pivot] /= vectors[pivot, j]
        for other in range(len(vectors)):
            if other != pivot:
                vectors[other] -= vectors[other, j] * vectors[pivot]
    for vector in vectors:
        yield np.flatnonzero(np.abs(vector) > least)


def _on_original_scale(
    shown: _Shown, involved: Ints, direction: Floats, scaling: Standardisation
) -> Relation:
    """A relation with coefficients as they were meant, where the rows bear that out."""
    at = scaling.varying[involved]
    centre, scale = scaling.centre[at], scaling.scale[at]
    slopes = direction / scale

    def miss(coefficients: Floats) -> float:
        unit = coefficients * scale
        return float(np.linalg.norm(shown.factor @ unit) / np.linalg.norm(unit))

    largest = int(np.abs(direction).argmax())
    solved = [(slopes / slopes[j], j) for j in range(len(at))]
    plain = [(np.array([_plain(c, SAME_NUMBER * abs(c)) for c in cs]), j) for cs, j in solved]
    rounding = np.sqrt(shown.n) * ROUNDING
    borne_out = [(cs, j) for cs, j in plain if miss(cs) <= 2.0 * miss(slopes) + rounding]
    coefficients, first = min(borne_out, key=_complexity, default=solved[largest])
    middle = centre + scale * shown.mean
    size = float(np.abs(coefficients * np.maximum(scale, np.abs(middle))).max())
    typical_miss = (
        miss(coefficients) / np.sqrt(shown.n) * float(np.linalg.norm(coefficients * scale))
    )
    constant = _plain(float(coefficients @ middle), typical_miss + ROUNDING * size)
    order = [first, *(j for j in range(len(at)) if j != first)]
    return Relation(involved[order], coefficients[order], constant, shown.n)


def _complexity(solved: tuple[Floats, int]) -> tuple[int, int]:
    """How hard a relation, solved for one of its columns, is to read: decimals, minus signs."""
    coefficients, first = solved
    positive = int((np.delete(coefficients, first) > 0).sum())
    minus_signs = 0 if positive == len(coefficients) - 1 else positive
    return sum(_decimals(c, SAME_NUMBER * abs(c)) for c in coefficients), minus_signs


def _plain(number: float, within: float) -> float:
    """The number of few decimals that this one is, to rounding, or itself."""
    decimals = _decimals(number, within)
    return number if decimals > MOST_DECIMALS else round(number, decimals)


def _decimals(number: float, within: float) -> int:
    fitting = (d for d in range(MOST_DECIMALS + 1) if abs(round(number, d) - number) <= within)
    return next(fitting, MOST_DECIMALS + 5)


def _terms(coefficients: Floats, names: Sequence[str], constant: float = 0.0) -> str:
    """A sum as it is written: ``'a' + 2 'b' - 'c' + 32``."""
    terms = [
        (c, name if abs(c) == 1 else f"{abs(c):.6g} {name}")
        for c, name in zip(coefficients[:MOST_TERMS], names, strict=False)
    ]
    if len(names) > MOST_TERMS:
        terms.append((1.0, f"{len(names) - MOST_TERMS} more terms"))
    if constant:
        terms.append((constant, f"{abs(constant):.6g}"))
    (sign, text), *rest = terms
    signed = [f"{'-' if sign < 0 else ''}{text}"]
    return " ".join([*signed, *(f"{'-' if c < 0 else '+'} {term}" for c, term in rest)])
