"""A summary in blocks that lie elsewhere, such as on the workers of a cluster.

Where nearly every row has a pattern of its own, the summary is as large as the table. Its rows then
stay where they are, and an iteration of EM asks each block for its sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.e_step import Part, WeightedRows, added
from em_impute.gaussian.observed import Observed
from em_impute.gaussian.parameters import Standardisation
from em_impute.gaussian.patterns import PatternSummary
from em_impute.gaussian.threads import one_blas_thread

Result = TypeVar("Result")


class Blocks(Protocol):
    """Objects that lie elsewhere, in their order."""

    def map(self, function: Callable[[Any], Result]) -> list[Result]:
        """What `function` returns for each, brought here."""

    def turned(self, function: Callable[[Any], Any]) -> Self:
        """What `function` returns for each, left where it is; the objects themselves are let go."""


class DividedSummary:
    """The summary of a table whose rows are in blocks that lie elsewhere.

    A pattern is condensed within a block, and not over all of them: the sums are the same.

    Parameters
    ----------
    blocks : Blocks
        Of `PatternSummary` each, of the same columns.

    Attributes
    ----------
    observed : Observed
    n_blocks, n_weighted_rows : int
        How many blocks there are, and how many weighted rows they have together.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        seen, rows = zip(*blocks.map(_seen), strict=True)
        self.observed = Observed.together(seen)
        self.n_blocks, self.n_weighted_rows = len(rows), sum(rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.observed.columns

    def rows(self, columns: Ints, centre: Floats, scale: Floats) -> DividedRows:
        """The rows of some columns, standardised; once, as the blocks are let go for them.

        Parameters
        ----------
        columns : ndarray of shape (p,), int64
        centre, scale : ndarray of shape (n_columns,)
        """
        blocks = self._blocks.turned(
            partial(WeightedRows.of, columns=columns, centre=centre, scale=scale)
        )
        n, n_cells, log_jacobian, pairs = added(blocks.map(_sums))
        return DividedRows(n, n_cells, log_jacobian, pairs, (), blocks)


@dataclass(frozen=True)
class DividedRows(WeightedRows):
    """Weighted rows whose parts are in blocks elsewhere.

    Attributes
    ----------
    blocks : Blocks
        Of `WeightedRows` each.
    """

    blocks: Blocks

    def map(self, function: Callable[[Part], Any]) -> list[Any]:
        """What `function` returns for the parts, brought here."""
        found = self.blocks.map(partial(_mapped, function))
        return [of_part for of_block in found for of_part in of_block]

    def total(self, function: Callable[[Part], tuple[Any, ...]]) -> tuple[Any, ...]:
        """The sums over all parts, of which those over each block are brought here."""
        return added(self.blocks.map(partial(_totalled, function)))

    def within(self, covariances: int, products: int) -> bool:  # noqa: ARG002
        """False: what is made of few patterns only, is made of rows that are at hand."""
        return False


def rows_of(summary: PatternSummary | DividedSummary, scaling: Standardisation) -> WeightedRows:
    """The rows of the columns that vary, standardised."""
    columns = scaling.varying, scaling.centre, scaling.scale
    if isinstance(summary, DividedSummary):
        return summary.rows(*columns)
    return WeightedRows.of(summary, *columns)


def _seen(summary: PatternSummary) -> tuple[Observed, int]:
    return Observed.of(summary), summary.n_weighted_rows


def _sums(rows: WeightedRows) -> tuple[float, float, float, Floats]:
    return rows.n, rows.n_cells, rows.log_jacobian, rows.pairs


@one_blas_thread()
def _mapped(function: Callable[[Part], Any], rows: WeightedRows) -> list[Any]:
    return rows.map(function)


@one_blas_thread()
def _totalled(function: Callable[[Part], tuple[Any, ...]], rows: WeightedRows) -> tuple[Any, ...]:
    return rows.total(function)
