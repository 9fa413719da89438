"""What can fill a table, whichever family it is of: the model, its fit, and its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import Conditional
from em_impute.gaussian.families.factor_model import FORMAT as FACTOR
from em_impute.gaussian.families.factor_model import FactorModel
from em_impute.gaussian.families.mixed import Part
from em_impute.gaussian.families.model import FORMAT as MIXTURE
from em_impute.gaussian.families.model import MixtureModel
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Keys, Words
from em_impute.gaussian.model import FORMAT as GAUSSIAN
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.model_file import read_model
from em_impute.gaussian.result import Starts
from em_impute.gaussian.status import Iteration, Status


class Normal(Protocol):
    """One Gaussian, however it has its covariance: `GaussianModel`, `FactorModel`."""

    @property
    def mean(self) -> Floats:
        """Of shape (p,)."""

    @property
    def sd(self) -> Floats:
        """Standard deviation of each column."""

    def conditional(self, X: Floats, /) -> Conditional:
        """Mean and standard deviation of each missing cell given its row's observed cells."""

    def draw_cells(self, holes: Holes, seed: int, words: Words, imputation: int, /) -> Floats:
        """The missing cells of a table, those of each row drawn jointly."""


class FillingModel(Protocol):
    """A distribution over named columns: `GaussianModel`, `MixtureModel`, `FactorModel`.

    Mean, covariance and what follows from them are of all rows. A draw of a row is that of one
    Gaussian, so that all that is drawn for it, levels and cells between bounds too, goes together.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    @property
    def mean(self) -> Floats:
        """Of all rows, of shape (p,)."""

    @property
    def covariance(self) -> Floats:
        """Of all rows, of shape (p, p)."""

    @property
    def sd(self) -> Floats:
        """Standard deviation of each column."""

    @property
    def correlation(self) -> Floats:
        """Correlation matrix, NaN for constant columns."""

    def conditional(self, X: Floats, /) -> Conditional:
        """Mean and standard deviation of each missing cell given its row's observed cells."""

    def conditional_parts(self, X: Floats, cells: Ints, /) -> list[Part]:
        """What each Gaussian says of k missing cells of each row, with its weight for the row."""

    def drawn_by(
        self, X: Floats, seed: int, words: Words, imputation: int, /
    ) -> Iterator[tuple[Normal, Ints]]:
        """The Gaussians that the rows are drawn by, each with its rows."""

    def draw(self, X: Floats, seed: int, keys: Keys | None = None, imputation: int = 1) -> Floats:
        """A copy of `X` with every missing cell drawn given the observed ones."""

    @property
    def parts(self) -> tuple[tuple[float, Normal], ...]:
        """The Gaussians that it is made of, each with its share of the rows."""

    def to_dict(self) -> dict[str, Any]:
        """Columns and parameters as lists."""

    def save(self, path: str | Path) -> None:
        """Write the model to a JSON file, from which `load_model` reads it."""


class FittedModel(Protocol):
    """A model and how it was reached, by the names of `EMResult`, which other fits have, too."""

    @property
    def model(self) -> FillingModel:
        """The model."""

    @property
    def status(self) -> Status:
        """How the fit ended."""

    @property
    def message(self) -> str:
        """The same in a sentence, with what to do."""

    @property
    def converged(self) -> bool:
        """Whether it ended at a maximum."""

    @property
    def loglik(self) -> float:
        """Observed-data log-likelihood, in full."""

    @property
    def n_iter(self) -> int:
        """Evaluations of the EM map after the one at the start."""

    @property
    def distance(self) -> float:
        """How far it ended from the maximum, as the family measures it."""

    @property
    def prior_rows(self) -> float:
        """Pseudo-rows of the prior that was used."""

    @property
    def trace(self) -> tuple[Iteration, ...]:
        """Every evaluation, in order."""

    @property
    def decisions(self) -> tuple[str, ...]:
        """What the program decided by itself, a sentence each."""

    @property
    def starts(self) -> Starts | None:
        """How several starts compare, where the family compares them."""

    @property
    def worst_fraction(self) -> float:
        """Worst fraction of missing information; NaN where unknown."""

    @property
    def worst_combination(self) -> tuple[tuple[str, float], ...]:
        """The parameters that it belongs to."""


def load_model(path: str | Path) -> FillingModel:
    """Read a model of whichever family.

    Raises
    ------
    ValueError
        If the file is none, or does not hold together.
    """
    families: dict[str, Callable[[Mapping[str, Any]], FillingModel]] = {
        GAUSSIAN: GaussianModel.from_dict,
        MIXTURE: MixtureModel.from_dict,
        FACTOR: FactorModel.from_dict,
    }
    return read_model(path, families)
