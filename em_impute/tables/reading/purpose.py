"""What a source is read for: what a job does with its cells decides what has to be kept of them."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    target_format: str | None = None
    moments: tuple[str, ...] | None = ()

    @classmethod
    def of(cls, job: Job) -> Purpose:
        """What a job reads its source for."""
        source, target = job.source, job.target
        if not isinstance(target, FileTarget):
            return cls(moments=None)
        is_text = isinstance(source, FileSource) and source.is_text
        if is_text and target.file_format in ("csv", "jsonl"):
            return cls(target.file_format, moments=None)
        return cls(moments=job.columns.predictors or ())


ANY = Purpose()
