"""What a source is read for: what a job does with its cells decides what has to be kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from em_impute.job import FileSource, FileTarget, Job


@dataclass(frozen=True)
class Purpose:
    """What a source is read for, as far as this decides what has to be kept of it.

    Attributes
    ----------
    target_format : {"csv", "jsonl"} or None
        The format of a target that is to spell the cells as the source does; None if source or
        target is no file of text.
    moments : tuple of str or None
        Columns of times that count as moments only; None if all do, because their spelling is
        kept, or because a database has a type for moments.
    categories : mapping of str to tuple of str
        The columns of categories, each with the levels that the job names.
    by_file : bool
        Whether it has to be known which rows are of which file.
    scanned : bool
        Whether the source of a database is only gone through, which takes little memory.
    """

    target_format: str | None = None
    moments: tuple[str, ...] | None = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_file: bool = False
    scanned: bool = False

    @classmethod
    def of(cls, job: Job) -> Purpose:
        """What a job reads its source for."""
        source, target, by_file = job.source, job.target, job.state is not None
        categories = {
            name: levels if isinstance(levels, tuple) else ()
            for name, levels in job.columns.categories.items()
        }
        if not isinstance(target, FileTarget):
            return cls(moments=None, categories=categories, by_file=by_file)
        is_text = isinstance(source, FileSource) and source.is_text
        if is_text and target.file_format in ("csv", "jsonl"):
            return cls(target.file_format, None, categories, by_file)
        return cls(None, job.columns.predictors or (), categories, by_file)


ANY = Purpose()
