"""The profile of a column of a snapshot, in the making."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from em_impute.tables.reading.oddities import Edge, Oddities, nines
from em_impute.tables.snapshot import ColumnProfile, is_numeric


@dataclass
class Tally:
    """The profile of one column, in the making.

    A text of `blanks` counts as missing: in a CSV, that is all that a missing text can be.
    """

    field: pa.Field
    in_folders: bool = False
    is_loose: bool = False
    blanks: tuple[str, ...] = ()
    missing: int = 0
    observed: int = 0
    infinite: int = 0
    first_infinite_row: int | None = None
    lowest: Edge = field(default_factory=lambda: Edge(np.min))
    highest: Edge = field(default_factory=lambda: Edge(np.max))
    oddities: Oddities = field(default_factory=Oddities)

    def add(self, column: pa.Array, first_row: int) -> None:
        """Take in the next cells, of which the first is in row `first_row`."""
        if self.is_loose:
            self.oddities.add(column, first_row)
        if not is_numeric(column.type):
            self.missing += column.null_count
            if self.blanks:
                blank = pc.is_in(column, pa.array(self.blanks, column.type))
                self.missing += pc.sum(blank).as_py() or 0
            return
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64(), safe=False)
        values = column.drop_null().to_numpy(zero_copy_only=False)
        observed = values[~np.isnan(values)]
        self.missing += len(column) - len(observed)
        self.observed += len(observed)
        if len(observed):
            self.lowest.add(observed)
            self.highest.add(observed)
            self.infinite += int(np.isinf(observed).sum())
            if self.infinite and self.first_infinite_row is None:
                cells = column.to_numpy(zero_copy_only=False)
                self.first_infinite_row = first_row + int(np.flatnonzero(np.isinf(cells))[0])

    def profile(self) -> ColumnProfile:
        """Return what is known of the column by now."""
        constant = self.lowest.value is not None and self.lowest.value == self.highest.value
        few = self.oddities if self.oddities.are_few else Oddities()
        return ColumnProfile(
            name=self.field.name,
            type=str(self.field.type),
            numeric=is_numeric(self.field.type),
            missing=self.missing,
            infinite=self.infinite,
            first_infinite_row=self.first_infinite_row,
            constant=bool(constant),
            in_folders=self.in_folders,
            odd=few.odd,
            odd_rows=few.rows,
            odd_spellings=few.named,
            nines=() if constant else nines((self.lowest, self.highest), self.observed),
            separators=self.oddities.separators,
            too_precise=self.oddities.too_precise,
        )
