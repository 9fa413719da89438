"""How sure the estimates are: the observed information, and what follows from it.

Minus the second derivative of the observed-data log-likelihood by the mean and the covariances is

    I_mu,mu       = sum n_s W_s
    I_mu,sigma    = sum ((W_s t_s)^T (x) W_s) D
    I_sigma,sigma = 1/2 D^T [sum W_s (x) (2 W_s S_s W_s - n_s W_s)] D

over the patterns, with ``W_s = Sigma_OO^-1`` (zero elsewhere), the sum ``t_s`` and the scatter
``S_s`` of the pattern's rows about the mean, and the duplication matrix `D`. Its inverse is the
covariance of the estimates wherever cells are missing at random; that of the expected information
is not (Kenward & Molenberghs 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, lapack

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.e_step import Part, WeightedRows, e_step
from em_impute.gaussian.em import m_step
from em_impute.gaussian.information import (
    MissingInformation,
    Whitened,
    combination,
    in_words,
)
from em_impute.gaussian.linalg import cholesky_factor, correlation_of, eigenvalues_of
from em_impute.gaussian.parameters import Parameters
from em_impute.gaussian.threads import one_blas_thread
from em_impute.gaussian.triangle import triangle

# The matrix of all parameters has some 200 MB for so many columns, and is not formed for more.
MOST_COLUMNS = 100
# So many products of the patterns, and so many covariances, take less time than `J` a vector at a
# time: those of some 20 columns.
MOST_PRODUCTS, MOST_COVARIANCES = 2**27, 300
# Where a combination of columns has less spread, in correlation units, sums over W lose digits.
LEAST_SPREAD = 1e-6
# Below this share of what complete data would tell, nothing is known of a combination.
NO_INFORMATION = 1e-8
# A fraction above 1 by more than this is one at a saddle, and not at a flat maximum.
FLAT = 1e-3
# Rows of the matrix that are put together at a time.
BLOCK = 256
# Steps of the differences of the EM map, in complete-data standard errors times sqrt(n).
STEP = 1e-4
# Conjugate gradients end where so much of the right side is left, or after so many steps.
RESIDUAL = 1e-6
MOST_STEPS = 2000


class Undetermined(ValueError):
    """The data do not determine a combination of parameters; the message names it."""


@dataclass(frozen=True)
class Precision:
    """How precisely the mean and the covariances of some columns are estimated.

    The parameters are the k means and the ``k (k + 1) / 2`` covariances of the lower triangle, row
    after row.

    Attributes
    ----------
    mean : ndarray of shape (k,)
    covariance : ndarray of shape (k, k)
    errors : ndarray of shape (q, q)
        Covariance of the estimates.
    observed : ndarray of shape (q, q)
        The same if the model holds: the inverse of the observed information.
    complete : ndarray of shape (q, q)
        What that would be if no cell were missing.
    """

    mean: Floats
    covariance: Floats
    errors: Floats
    observed: Floats
    complete: Floats

    def scaled(self, centre: Floats, scale: Floats) -> Precision:
        """The same of the columns on another scale.

        Parameters
        ----------
        centre, scale : ndarray of shape (k,)
            What was made 0, and what was made 1.
        """
        row, column, _, _ = triangle(len(scale))
        of_each = np.concatenate([scale, scale[row] * scale[column]])
        both = np.multiply.outer(of_each, of_each)
        return Precision(
            centre + scale * self.mean,
            np.multiply.outer(scale, scale) * self.covariance,
            both * self.errors,
            both * self.observed,
            both * self.complete,
        )


@one_blas_thread()
def precision_of(
    rows: WeightedRows,
    at: Parameters,
    prior_rows: float,
    columns: Ints,
    names: Sequence[str],
    scores: Callable[[], Floats] | None = None,
) -> Precision:
    """How precisely the parameters of some columns are estimated.

    Of up to `MOST_COLUMNS` columns the whole matrix is inverted. Of more, and where columns nearly
    determine each other, what is asked for is solved for by conjugate gradients, with differences
    of the EM map.

    Parameters
    ----------
    rows : WeightedRows
    at : tuple of ndarray
        Mean (p,) and covariance (p, p) at the maximum.
    prior_rows : float
        Pseudo-rows of the ridge prior.
    columns : ndarray of shape (k,), int64
        Which of the p columns.
    names : sequence of str
        Of the p columns.
    scores : callable, optional
        Returns the sum of the outer products of the rows' scores, (q, q): for robust errors, which
        hold where the columns are not normal, too (Huber 1967; White 1982).

    Raises
    ------
    Undetermined
        If the data leave a combination of parameters open.
    numpy.linalg.LinAlgError
        If the covariance is singular.
    """
    mean, covariance = at
    if len(mean) <= MOST_COLUMNS and keeps_digits(covariance):
        wanted = _places(columns, len(mean))
        inverse = _inverse(observed_information(rows, at, prior_rows), rows, at, prior_rows, names)
        observed = inverse[np.ix_(wanted, wanted)]
        errors = observed if scores is None else inverse[wanted] @ scores() @ inverse[:, wanted]
    elif scores is not None:
        raise Undetermined(
            f"Robust errors are computed of up to {MOST_COLUMNS} columns that do not nearly "
            "determine each other. Leave columns out, or do without `rows`."
        )
    else:
        errors = observed = _solved_for(rows, at, prior_rows, columns, names)
    chosen = covariance[np.ix_(columns, columns)]
    complete = complete_errors(chosen, rows.n, prior_rows)
    return Precision(mean[columns], chosen, errors, observed, complete)


def keeps_digits(covariance: Floats) -> bool:
    """Whether the inverses of the covariance's blocks can be added up and still mean something."""
    return bool(eigenvalues_of(correlation_of(covariance))[0] > LEAST_SPREAD)


def is_small(rows: WeightedRows) -> bool:
    """Whether the whole matrix takes less time than a few of its products with vectors."""
    return rows.within(MOST_COVARIANCES, MOST_PRODUCTS)


def missing_information_by_matrix(
    rows: WeightedRows, at: Parameters, prior_rows: float, names: Sequence[str]
) -> MissingInformation:
    """Worst fraction of missing information, from the whole matrix: for where it `is_small`.

    Parameters
    ----------
    rows : WeightedRows
    at : tuple of ndarray
        Mean (p,) and covariance (p, p) at a fixed point of the EM map.
    prior_rows : float
        Pseudo-rows of the ridge prior.
    names : sequence of str
        Of the p columns.
    """
    whitening = _whitening(at, rows.n, prior_rows)
    share = whitening.T @ observed_information(rows, at, prior_rows) @ whitening
    values, vectors = eigh(share, subset_by_index=[0, 0])
    worst = 1.0 - float(values[0])
    saddle = worst > 1.0 + FLAT
    return MissingInformation(
        max(0.0, worst) if saddle else min(max(0.0, worst), 1.0),
        combination(_direction(whitening @ vectors[:, 0], len(at[0])), at[1], names),
        at_a_saddle=saddle,
    )


def observed_information(rows: WeightedRows, at: Parameters, prior_rows: float = 0.0) -> Floats:
    """Minus the second derivative of the log-likelihood, by mean and covariances, (q, q).

    Parameters
    ----------
    rows : WeightedRows
    at : tuple of ndarray
        Mean (p,) and covariance (p, p): any, not only the maximum.
    prior_rows : float
        Pseudo-rows of the ridge prior, whose term is added.
    """
    p = len(at[0])
    row, column, times, number = triangle(p)
    d = len(row)
    of_mean, products, with_slopes = np.zeros(d), np.zeros((d, d)), np.zeros((d, p))

    def sums(part: Part) -> tuple[Floats, Floats, Floats]:
        inverses, curvatures, slopes = _triangles(part, at)
        return part.counts @ inverses, inverses.T @ curvatures, inverses.T @ slopes

    # Large products are added up one by one: all of them together might fill the memory.
    for found in rows.map(sums) if is_small(rows) else map(sums, rows.parts):
        for total, more in zip((of_mean, products, with_slopes), found, strict=True):
            total += more
    if prior_rows:
        precision = np.linalg.inv(at[1])
        curvature = prior_rows * (2.0 * precision @ precision - precision)
        products += np.multiply.outer(precision[row, column], curvature[row, column])
    information = np.empty((p + d, p + d))
    information[:p, :p] = of_mean[number]
    mixed = with_slopes[number[:, row], column] + with_slopes[number[:, column], row]
    information[:p, p:] = 0.5 * times * mixed
    information[p:, :p] = information[:p, p:].T
    for first in range(0, d, BLOCK):
        i, j = row[first : first + BLOCK, None], column[first : first + BLOCK, None]
        ik, jl = number[i, row], number[j, column]
        il, jk = number[i, column], number[j, row]
        four = products[ik, jl] + products[jl, ik] + products[il, jk] + products[jk, il]
        information[p + first : p + first + BLOCK, p:] = (
            times[first : first + BLOCK, None] * times * four / 8.0
        )
    return information


def complete_errors(covariance: Floats, n: float, prior_rows: float = 0.0) -> Floats:
    """Covariance of the estimates if no cell were missing, (q, q).

    ``Sigma / n`` of the mean, and ``(Sigma_ik Sigma_jl + Sigma_il Sigma_jk) / n`` of covariances.
    """
    p = len(covariance)
    row, column, _, _ = triangle(p)
    errors = np.zeros((p + len(row), p + len(row)))
    errors[:p, :p] = covariance / n
    i, j = row[:, None], column[:, None]
    both = covariance[i, row] * covariance[j, column] + covariance[i, column] * covariance[j, row]
    errors[p:, p:] = both / (n + prior_rows)
    return errors


def _triangles(part: Part, at: Parameters) -> tuple[Floats, Floats, Floats]:
    from em_impute.gaussian import kernels

    (mean, covariance), (s, p) = at, part.patterns.shape
    X = np.empty_like(part.rows)
    kernels.centre(part.rows, part.weights, mean, part.patterns, part.starts, X)
    inverses, curvatures = np.zeros((2, s, p * (p + 1) // 2))
    slopes = np.zeros((s, p))
    kernels.information_triangles(
        X, part.weights, part.patterns, part.counts, part.starts,
        covariance, inverses, curvatures, slopes,
    )  # fmt: skip
    return inverses, curvatures, slopes


def _places(columns: Ints, p: int) -> Ints:
    """Where the parameters of some columns are among those of all p."""
    row, column, _, _ = triangle(len(columns))
    return np.concatenate([columns, p + triangle(p).number[columns[row], columns[column]]])


def _inverse(
    information: Floats,
    rows: WeightedRows,
    at: Parameters,
    prior_rows: float,
    names: Sequence[str],
) -> Floats:
    """The inverse, or an error that names what keeps it from having one."""
    whitening = _whitening(at, rows.n, prior_rows)
    # In these coordinates the information in complete data is the identity.
    share = whitening.T @ information @ whitening
    factor, failed = lapack.dpotrf(share, lower=1, clean=1)
    if failed or factor.diagonal().min() ** 2 < NO_INFORMATION:
        values, vectors = np.linalg.eigh(share)
        if values[0] < NO_INFORMATION:
            direction = _direction(whitening @ vectors[:, 0], len(at[0]))
            raise Undetermined(_open(direction, at[1], names))
    half, _ = lapack.dtrtrs(factor, whitening.T, lower=1)
    inverse: Floats = half.T @ half
    return inverse


def _direction(vector: Floats, p: int) -> Parameters:
    """The changes of mean and covariance in a vector of all parameters."""
    row, column, _, _ = triangle(p)
    change = np.zeros((p, p))
    change[row, column] = change[column, row] = vector[p:]
    return vector[:p], change


def _whitening(at: Parameters, n: float, prior_rows: float) -> Floats:
    """A root of `complete_errors` of all columns, (q, q): ``R R^T``.

    With ``Sigma = L L^T`` that is `L` for the mean, and for covariances what ``L B L^T`` makes of
    symmetric matrices `B` of length 1.
    """
    lower, p = cholesky_factor(at[1]), len(at[0])
    row, column, times, _ = triangle(p)
    i, j = row[:, None], column[:, None]
    root = np.zeros((p + len(row), p + len(row)))
    root[:p, :p] = lower / np.sqrt(n)
    both = lower[i, row] * lower[j, column] + lower[i, column] * lower[j, row]
    root[p:, p:] = both * np.sqrt(times / (2.0 * (n + prior_rows)))
    return root


def _open(direction: Parameters, covariance: Floats, names: Sequence[str]) -> str:
    found = in_words(combination(direction, covariance, names))
    return (
        f"The data do not determine the estimates in the direction of {found}, so nothing has a "
        "standard error. Leave one of these columns out, or use a small prior (prior_rows)."
    )


def _solved_for(
    rows: WeightedRows, at: Parameters, prior_rows: float, columns: Ints, names: Sequence[str]
) -> Floats:
    """The covariance of the estimates of some columns, by conjugate gradients."""
    space = Whitened(at, prior_rows / rows.n)
    right = space.gradients(columns)

    def em_map(moved: Parameters) -> Parameters:
        return m_step(e_step(rows, *moved), moved[0], prior_rows)

    def information(vector: Floats) -> Floats:
        """``(I - J) vector``, with the Jacobian `J` of the EM map."""
        ahead, back = (em_map(space.move(at, side * STEP * vector)) for side in (1.0, -1.0))
        return vector - space.difference(ahead, back) / (2.0 * STEP)

    solutions = np.empty_like(right)
    for k, one in enumerate(right):
        solutions[k], is_flat = _conjugate_gradients(information, one)
        if is_flat:
            raise Undetermined(_open(space.direction(solutions[k]), at[1], names))
    errors = right @ solutions.T / rows.n
    symmetric: Floats = (errors + errors.T) / 2.0
    return symmetric


def _conjugate_gradients(matrix: Callable[[Floats], Floats], right: Floats) -> tuple[Floats, bool]:
    """The solution of ``matrix x = right`` (Hestenes & Stiefel 1952).

    Returns
    -------
    (ndarray, bool)
        True with a direction in which the matrix is flat, where that keeps it from a solution.
    """
    x, residual = np.zeros_like(right), right
    direction, square = right, float(right @ right)
    enough = RESIDUAL**2 * square
    for _ in range(MOST_STEPS):
        length = float(np.linalg.norm(direction))
        moved = matrix(direction / length) * length
        curvature = float(direction @ moved)
        if curvature < NO_INFORMATION * length**2:
            return direction, True
        step = square / curvature
        x = x + step * direction
        residual = residual - step * moved
        square, before = float(residual @ residual), square
        if square <= enough:
            return x, False
        direction = residual + square / before * direction
    return direction, True
