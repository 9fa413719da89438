"""Multiple imputation: several completed versions of a table, each from parameters of its own.

One filled table pretends that the filled cells, and the model behind them, are known. Several of
them show by their differences what is not known; `pooling` makes one answer of what they say.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from em_impute.gaussian import (
    ConvergenceWarning,
    EMResult,
    GaussianModel,
    PatternSummary,
    fit_gaussian,
)
from em_impute.gaussian.delta import require_delta
from em_impute.gaussian.keys import Keys, row_words
from em_impute.gaussian.posterior import (
    MOST_SWEEPS,
    Mixing,
    enough_draws,
    posterior_draws,
    resampled_model,
)
from em_impute.gaussian.table import Table

Draws = int | Literal["auto"]
Posterior = Literal["augmentation", "ml", "bootstrap"]
POSTERIORS = ("augmentation", "ml", "bootstrap")
FORMAT, FORMAT_VERSION = "em_impute.MultipleImputation", 1


@dataclass(frozen=True)
class MultipleImputation:
    """Completed versions of a table, made one at a time as they are asked for.

    Iterating gives the tables; iterating again gives the same ones.

    Attributes
    ----------
    models : tuple of GaussianModel
        One for each imputation; of ``posterior="ml"`` the same.
    posterior : {"augmentation", "ml", "bootstrap"}
        Where they come from, by which `pool` takes the right rules.
    seed : int
        What the cells are drawn with, as in `GaussianModel.draw`.
    mixing : Mixing or None
        How the chains of data augmentation ended.
    table : object
        The table that is filled; None after `load`.
    keys : sequence of hashable, optional
        What identifies its rows.
    delta : mapping of str to float or None
        How the imputed cells are shifted, as in `GaussianModel.draw`.
    prior_rows : float
        Pseudo-rows of the prior of the fit that they come from.
    """

    models: tuple[GaussianModel, ...]
    posterior: Posterior
    seed: int
    mixing: Mixing | None = None
    table: Any = field(default=None, repr=False, compare=False)
    keys: Keys | None = field(default=None, repr=False, compare=False)
    delta: Mapping[str, float] | None = None
    prior_rows: float = 0.0

    def __len__(self) -> int:
        return len(self.models)

    def __iter__(self) -> Iterator[Any]:
        if self.table is None:
            raise ValueError("There is no table to fill; name one, as in imputation.of(table).")
        return self._tables(self.table)

    def of(self, table: Any, keys: Keys | None = None) -> Self:
        """The same posterior for another table: rows that came later, or a part of them.

        Parameters
        ----------
        table : array_like or DataFrame of shape (n_rows, n_columns)
            With the columns of the models. A frame of pandas or polars may have others, which are
            left as they are, and comes back as such; all else comes back as an array.
        keys : sequence of hashable or ndarray of shape (n_rows,), optional
            What identifies the rows, as in `GaussianModel.draw`.
        """
        return replace(self, table=table, keys=keys)

    def save(self, path: str | Path) -> None:
        """Write the models to a JSON file, without the table; every float comes back bit by bit."""
        models = [model.to_dict() for model in self.models]
        # The same of all models, and written once.
        columns, *_ = [model.pop("columns") for model in models]
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "posterior": self.posterior,
            "seed": self.seed,
            "delta": None if self.delta is None else dict(self.delta),
            "prior_rows": self.prior_rows,
            "columns": columns,
            "models": models,
        }
        Path(path).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; `of` gives it a table.

        Raises
        ------
        ValueError
            If the file is none that `save` wrote, or one of its models does not hold together.
        """
        try:
            content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (FORMAT, FORMAT_VERSION):
                raise ValueError(f"expected format {FORMAT} version {FORMAT_VERSION}")
            if content["posterior"] not in POSTERIORS:
                raise ValueError(f"expected posterior to be one of {list(POSTERIORS)}")
            models = tuple(
                GaussianModel.from_dict({"columns": content["columns"], **model})
                for model in content["models"]
            )
            if len(models) < 2:
                raise ValueError("expected two models or more")
            # Files that were written before there were delta and prior_rows have none.
            delta, prior_rows = content.get("delta"), float(content.get("prior_rows", 0.0))
            if delta is not None:
                require_delta(delta, models[0].columns)
            if not 0.0 <= prior_rows < math.inf:
                raise ValueError("expected prior_rows to be at least 0")
            return cls(
                models,
                content["posterior"],
                int(content["seed"]),
                delta=delta,
                prior_rows=prior_rows,
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{path} is no multiple imputation that can be read: {error}"
            ) from None

    def _tables(self, whole: Any) -> Iterator[Any]:
        model, columns = self.models[0], list(self.models[0].columns)
        polars = sys.modules.get("polars")
        is_polars = polars is not None and isinstance(whole, polars.DataFrame)
        is_frame = is_polars or isinstance(whole, pd.DataFrame)
        if is_frame and (absent := [name for name in columns if name not in whole.columns]):
            raise ValueError(f"The table has no column {absent[0]!r}, which the model has.")
        # The holes are the same for all models.
        table = Table.of(whole[columns] if is_frame else whole)
        holes = model.holes(table)
        words = row_words(self.keys, len(holes.X))
        for number, model in enumerate(self.models, start=1):
            cells = model.draw_cells(holes, self.seed, words, number, self.delta)
            filled = model.given_back(holes.filled(cells), table)
            if not is_frame:
                yield filled
                continue
            drawn = dict(zip(columns, filled.T, strict=True))
            yield whole.with_columns(**drawn) if is_polars else whole.assign(**drawn)


def multiply_impute(
    table: Any,
    m: Draws = 20,
    *,
    result: EMResult | None = None,
    posterior: Posterior = "augmentation",
    seed: int = 0,
    keys: Keys | None = None,
    max_sweeps: int = MOST_SWEEPS,
    delta: Mapping[str, float] | None = None,
) -> MultipleImputation:
    """Impute a table several times.

    Parameters
    ----------
    table : array_like or DataFrame of shape (n_rows, n_columns)
        Columns of numbers; missing is what is NaN, None, NA or masked.
    m : int or "auto", default 20
        Imputations. ``"auto"`` takes so many that a standard error would vary by 5% from one set of
        imputations to another (von Hippel 2020), as `EMResult.estimates` tells the fraction of
        missing information.
    result : EMResult, optional
        A fit to these rows; by default it is made here.
    posterior : {"augmentation", "ml", "bootstrap"}, default "augmentation"
        How each imputation gets its parameters. By data augmentation they are drawn from their
        posterior, with Jeffreys' prior or that of the fit (Schafer 1997). By ``"ml"`` all of them
        are the estimate (von Hippel & Bartlett 2021): the cheapest, for `pool` only. By
        ``"bootstrap"`` they are estimated anew from resampled rows, as Amelia does (Honaker & King
        2010).
    seed : int, default 0
        The same seed gives the same tables.
    keys : sequence of hashable or ndarray of shape (n_rows,), optional
        What identifies the rows, as in `GaussianModel.draw`.
    max_sweeps : int, default 20000
        Most sweeps of a chain of data augmentation.
    delta : mapping of str to float, optional
        By how many standard deviations (those of the parameters of each imputation) the missing
        cells of a column are shifted: what is pooled then shows what follows if they differ from
        the observed ones.

    Returns
    -------
    MultipleImputation

    Raises
    ------
    ValueError
        If `m` is below 2, if the fit did not end at a maximum, if there is no posterior, or if
        `delta` names a column that is not there or is not finite.

    Warns
    -----
    ConvergenceWarning
        If the chains have not mixed after `max_sweeps`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 5.0], [4.0, 9.0], [5.0, 8.0], [2.0, 4.0]])
    >>> tables = multiply_impute(X, 5, posterior="ml", seed=1)
    >>> [round(float(table[1, 1]), 1) for table in tables]
    [4.1, 2.6, 5.3, 4.8, 4.5]
    """
    for name, number, least in (("m", m, 2), ("max_sweeps", max_sweeps, 1), ("seed", seed, 0)):
        if name == "m" and number == "auto":
            continue
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < least:
            raise ValueError(f"{name} must be a whole number, at least {least}, got {number!r}.")
    if posterior not in POSTERIORS:
        raise ValueError(f"posterior must be one of {list(POSTERIORS)}, got {posterior!r}.")
    if result is None:
        result = fit_gaussian(table, prior_rows="auto")
    if not result.converged:
        raise ValueError(f"Imputations are drawn about a maximum. {result.message}")
    if delta is not None:
        require_delta(delta, result.model.columns)
    m = enough_draws(result) if m == "auto" else m
    mixing = None
    if posterior == "ml":
        models: Sequence[GaussianModel] = [result.model] * m
    elif posterior == "bootstrap":
        models = list(_resampled(table, result, m, seed))
    else:
        models, mixing = posterior_draws(result, m, seed, max_sweeps)
        if not mixing.mixed:
            warnings.warn(mixing.sentence, ConvergenceWarning, stacklevel=2)
    return MultipleImputation(
        tuple(models), posterior, seed, mixing, table, keys, delta, result.prior_rows
    )


def _resampled(table: Any, result: EMResult, m: int, seed: int) -> Iterator[GaussianModel]:
    """Models that are fitted to rows drawn with replacement."""
    columns = result.model.columns
    X = Table.of(table).in_order_of(columns)
    for number in range(1, m + 1):
        random = np.random.default_rng([seed, number])
        rows = X[random.integers(len(X), size=len(X))]
        yield resampled_model(PatternSummary.from_array(rows, columns), result)
