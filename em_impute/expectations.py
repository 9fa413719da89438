"""Expectations for any suite of Great Expectations: `em_impute.checks.expectations`."""

from em_impute.checks.expectations import (
    ExpectImputedDistributionToMatch,
    ExpectMissingnessToBeMcar,
)

__all__ = ["ExpectImputedDistributionToMatch", "ExpectMissingnessToBeMcar"]
