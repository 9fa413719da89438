"""The cells of a table's columns: observed ones while their rows pass, imputed ones in the ledger.

What looks at rows is fed by a `survey`, batch by batch; what it has found is asked for afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.filling import FillingModel
from em_impute.reporting.columns import ImputedDigest
from em_impute.reporting.distributions import MAX_DISTRIBUTIONS, Histograms
from em_impute.reporting.records import Distribution
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.numbers import Numeric, ceil_or_inf, floor_or_inf
from em_impute.tables.columns.roles import Roles, to_matrix
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.digest import Digest
from em_impute.tables.snapshot import Snapshot
from em_impute.tables.writing.staged import Staged

Cells = dict[str, tuple[Floats, Floats]]
"""Imputed cells of columns, and their standard deviations."""
# A variance below this share of the mean square is none.
ROUNDING = 1e-14


def transformed_columns(roles: Roles) -> list[str]:
    """Return the columns that the model sees transformed."""
    return [
        encoding.column
        for encoding in roles.encodings
        if isinstance(encoding, Numeric) and encoding.transform is not IDENTITY
    ]


# --- Observed cells, while they pass -------------------------------------------------------------


class Kurtosis:
    """Finds the fourth standardised moments of the columns of numbers, as the model sees them.

    Sums of powers are about the model's means, near which those of the cells are.

    Parameters
    ----------
    roles : Roles
    model : FillingModel or None
    """

    def __init__(self, roles: Roles, model: FillingModel | None) -> None:
        self._roles = roles
        names = roles.model_columns if model else ()
        self.watched = [n for n in names if isinstance(roles.encoding(n), Numeric)]
        at = [roles.at(name).start for name in self.watched]
        self._centre, sd = (model.mean[at], model.sd[at]) if model else (np.empty(0), np.empty(0))
        self._unit, self._sums = np.where(sd > 0, sd, 1.0), np.zeros((len(at), 5))

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        for j, name in enumerate(self.watched):
            cells = self._roles.encoding(name).encode(batch.column(name))[:, 0]
            z = (cells[~np.isnan(cells)] - self._centre[j]) / self._unit[j]
            squares = z * z
            # Not by dot products, whose threads would cost more than they save.
            powers = z, squares, squares * z, squares * squares
            self._sums[j] += len(z), *(power.sum() for power in powers)

    @property
    def found(self) -> dict[str, float]:
        """The moments; 0 of a column that does not vary."""
        n, *powers = self._sums.T
        first, second, third, fourth = (power / np.maximum(n, 1) for power in powers)
        variance = second - first**2
        about_mean = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        varies = variance > ROUNDING * second
        kurtosis = np.where(varies, about_mean, 0.0) / np.where(varies, variance, 1.0) ** 2
        return dict(zip(self.watched, kurtosis.tolist(), strict=True))


class ObservedDigests:
    """Digests the observed cells of the columns of numbers that are imputed or transformed.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    """

    def __init__(self, snapshot: Snapshot, roles: Roles) -> None:
        holed = [name for name in roles.impute if snapshot.profile(name).missing]
        imputed = [name for name in holed if isinstance(roles.encoding(name), Numeric)]
        self.watched = list(dict.fromkeys([*imputed, *transformed_columns(roles)]))
        self.found = {name: Digest() for name in self.watched}

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        for name, cells in observed_cells(batch, self.watched).items():
            self.found[name].add(cells)


class CountedLevels:
    """Counts the observed levels of the categories with the most cells to fill.

    Parameters
    ----------
    snapshot : Snapshot
    roles : Roles
    """

    def __init__(self, snapshot: Snapshot, roles: Roles) -> None:
        encodings = {
            name: encoding
            for name in roles.impute
            if isinstance(encoding := roles.encoding(name), Nominal | Ordinal)
            and encoding.dimensions
        }
        missing = {name: snapshot.profile(name).missing for name in encodings}
        ranked = sorted(filter(missing.get, missing), key=lambda name: -missing[name])
        self.watched = ranked[:MAX_DISTRIBUTIONS]
        self._encodings = encodings
        self.found = {n: np.zeros(len(encodings[n].levels), dtype=np.int64) for n in self.watched}

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        for name, counts in self.found.items():
            codes = self._encodings[name].codes(batch.column(name))
            counts += np.bincount(codes[codes >= 0], minlength=len(counts))


def observed_cells(batch: pa.RecordBatch, names: Sequence[str]) -> dict[str, Floats]:
    """Return the observed cells of columns of numbers."""
    cells = {name: to_matrix(batch, [name])[:, 0] for name in names}
    return {name: column[np.isfinite(column)] for name, column in cells.items()}


# --- Imputed cells, in the ledger ----------------------------------------------------------------


def digest_imputed(
    staged: Staged | None, roles: Roles, observed: Mapping[str, Digest]
) -> dict[str, ImputedDigest]:
    """Return what is known of the imputed cells of the columns of numbers, from the ledger.

    Parameters
    ----------
    staged : Staged or None
    roles : Roles
    observed : mapping of str to Digest
        What `ObservedDigests` has found.
    """
    imputed = {
        name: ImputedDigest(observed[name].low, observed[name].high, _bounds(roles, name))
        for name, count in (staged.imputed if staged else ())
        if count and name in observed
    }
    for cells in _imputed_cells(staged, list(imputed)):
        for name, (values, sd) in cells.items():
            imputed[name].add(values, sd)
    return imputed


def _bounds(roles: Roles, name: str) -> tuple[float, float] | None:
    encoding = roles.encoding(name)
    assert isinstance(encoding, Numeric)
    low, high = encoding.low, encoding.high
    if (low, high) == (-math.inf, math.inf):
        return None
    return (ceil_or_inf(low), floor_or_inf(high)) if encoding.whole else (low, high)


def _imputed_cells(staged: Staged | None, names: Sequence[str]) -> Iterator[Cells]:
    """The imputed cells of columns of numbers, in portions, from the ledger."""
    for column, batch in ledger(staged, names, ["value", "sd"]):
        values, sd = (batch[name].to_numpy(zero_copy_only=False) for name in ("value", "sd"))
        order = np.argsort(column, kind="stable")
        ends = np.searchsorted(column[order], np.arange(len(names) + 1))
        yield {
            name: (values[order[a:b]], sd[order[a:b]])
            for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)
            if a < b
        }


def ledger(
    staged: Staged | None, names: Sequence[str], fields: Sequence[str]
) -> Iterator[tuple[Ints, pa.RecordBatch]]:
    """Yield the ledger in batches, and which of `names` each cell is in; -1 for another column.

    Of several imputations the first.

    Parameters
    ----------
    staged : Staged or None
    names : sequence of str
    fields : sequence of str
        What of the ledger is read, beside the column.
    """
    if staged is None or not names:
        return
    left = staged.cells
    with pq.ParquetFile(staged.ledger) as ledger:
        for whole in ledger.iter_batches(columns=["column", *fields]):
            if not left:
                return
            batch = whole.slice(0, left)
            left -= batch.num_rows
            column = batch["column"]
            known = pc.index_in(column.dictionary, pa.array(names, pa.string())).fill_null(-1)
            yield known.to_numpy()[column.indices.to_numpy()].astype(np.int64), batch


class CountedCells:
    """Counts the cells of the columns of numbers with the most imputed ones, on shared bins.

    Parameters
    ----------
    staged : Staged or None
    roles : Roles
    observed : mapping of str to Digest
        What `ObservedDigests` has found.
    imputed : mapping of str to ImputedDigest
        What `digest_imputed` returns.
    """

    def __init__(
        self,
        staged: Staged | None,
        roles: Roles,
        observed: Mapping[str, Digest],
        imputed: Mapping[str, ImputedDigest],
    ) -> None:
        in_order = [name for name in roles.columns if name in imputed]
        ranked = sorted(in_order, key=lambda name: -imputed[name].cells.count)
        self._staged, self.watched = staged, ranked[:MAX_DISTRIBUTIONS]
        self._histograms = Histograms(
            self.watched,
            observed,
            {name: digest.cells for name, digest in imputed.items()},
            [
                e.column
                for e in roles.encodings
                if isinstance(e, Numeric) and e.transform.name == "log"
            ],
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the next rows' observed cells."""
        self._histograms.add_observed(observed_cells(batch, self.watched))

    @cached_property
    def found(self) -> tuple[Distribution, ...]:
        """The histograms, when all rows have been counted."""
        for cells in _imputed_cells(self._staged, self.watched):
            self._histograms.add_imputed({name: values for name, (values, _) in cells.items()})
        return self._histograms.distributions()
