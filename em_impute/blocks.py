"""Blocks of Prefect, as servers and users find them: `em_impute.plugin.blocks`."""

from em_impute.flows.job_block import EMImputeJob
from em_impute.plugin.blocks import EMImputeDatabase

__all__ = ["EMImputeDatabase", "EMImputeJob"]
