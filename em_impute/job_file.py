"""A job file in Python: `read_job` reads it, and gives the imputer that fills as the job does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_impute.column_options import PLACES
from em_impute.estimator import EMImputer
from em_impute.job import FAMILIES, Job, JobError, Problem, load_job


@dataclass(frozen=True)
class ReadJob:
    """A job that was read.

    Attributes
    ----------
    job : Job
        Its sections by their names: ``read.job.columns.impute``.
    """

    job: Job

    def imputer(self, **options: Any) -> EMImputer:
        """The `EMImputer` that fills a table in memory as the job fills its source.

        What the job says of columns, model and imputation become options. What it says of reading,
        checking, publishing and running has no meaning there, and is left out: `source` but for
        `missing`, `target`, `checks`, `self_test`, `report`, `engine`, `schedule`, `batch_rows`,
        `time_limit`, `keep_runs`, `columns.strict`, `model.time_limit` and `imputation.mask`.

        Parameters
        ----------
        **options
            Further options of `EMImputer`, of which the job says nothing.

        Raises
        ------
        JobError
            If the job fills otherwise than an `EMImputer` can: by a mixture, several times, or with
            the rows of earlier runs.
        ValueError
            If the job says something of an option that is given.

        Examples
        --------
        >>> read_job("configs/skewed.yaml").imputer(n_jobs=1).transforms["Ozone"]
        'log'
        """
        if problems := list(self._beyond()):
            raise JobError(problems)
        for option in options:
            section, key = PLACES.get(option, ("", ""))
            if key and key in getattr(self.job, section).model_fields_set:
                raise ValueError(
                    f"{option} is given here, and by the job at {self.job.place(section, key)} "
                    f"({section}.{key}); remove it from one of them."
                )
        return EMImputer(**{**self._options(), **options})

    def _options(self) -> dict[str, Any]:
        """What the job says, as options; of columns all, so that they are treated as in a job."""
        job = self.job.model_dump(mode="python", include={"columns", "model", "imputation"})
        job["source"] = {"missing": self.job.source.missing}
        own = {option: job[section][key] for option, (section, key) in PLACES.items()}
        return own | {
            "sample": self.job.imputation.is_drawn,
            "n_starts": self.job.model.starts,
            "delta": own["delta"] or None,
        }

    def _beyond(self) -> Iterator[Problem]:
        """Yield by what the job fills otherwise than an `EMImputer` can."""
        job = self.job
        if job.model.is_of_rows:
            of_family = "EMFactor" if job.model.is_factor else "EMMixture"
            yield Problem(
                job.place("model", "family"),
                f"model.family: the job fills by a {FAMILIES[job.model.family]}, and EMImputer by "
                f"one Gaussian with a covariance of all columns; use {of_family}.",
            )
        if job.imputation.is_multiple:
            yield Problem(
                job.place("imputation", "method"),
                "imputation.method: the job fills several times, and EMImputer once; use "
                "`method: draw`, or run the job.",
            )
        if job.state:
            yield Problem(
                job.place("state"),
                "state: the job adds the rows of earlier runs, which EMImputer does not have; run "
                "the job, or remove its state.",
            )


def read_job(path: str | Path) -> ReadJob:
    """Read a job file, without running it.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    JobError
        With all the mistakes in the file.
    """
    return ReadJob(load_job(Path(path)))
