"""What a family of models can do in a job: which sections do not go with `model.family`."""

from __future__ import annotations

from em_impute.job.options import FAMILIES, Imputation, ModelOptions


def require_posterior(model: ModelOptions, imputation: Imputation) -> None:
    """Raise a ValueError if several imputations are asked for of a model that has no posterior."""
    if model.is_of_rows and imputation.is_multiple:
        raise ValueError(
            "several imputations are drawn from the posterior of one Gaussian, which "
            f"a {FAMILIES[model.family]} has not; use `method: draw`, or `family: gaussian`"
        )


def require_components(model: ModelOptions, *, clusters: bool) -> None:
    """Raise a ValueError if clusters are asked for of a model that has none."""
    if clusters and not model.is_mixture:
        raise ValueError(
            "clusters are the components of a mixture: add `model: {family: mixture}`, or remove "
            "clusters"
        )


def require_factors(model: ModelOptions, *, scores: bool) -> None:
    """Raise a ValueError if scores are asked for of a model that has none, or none knows how many.

    The columns of the table are known before the model is fitted.
    """
    if scores and not model.is_factor:
        raise ValueError(
            "scores are those of a factor model: add `model: {family: factor, components: 3}`, or "
            "remove scores"
        )
    if scores and not isinstance(model.components, int):
        raise ValueError(
            "scores take a column for each factor, so model.components must be a number, such as "
            "components: 3; or remove scores"
        )


def require_summary(model: ModelOptions, wanted_by: str) -> None:
    """Raise a ValueError if a model that needs the rows is to be fitted to sums of them."""
    if model.is_of_rows:
        raise ValueError(
            f"{wanted_by} sums the rows up, and a {FAMILIES[model.family]} needs the rows "
            "themselves; remove it, or use `family: gaussian`"
        )
