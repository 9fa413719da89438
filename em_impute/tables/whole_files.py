"""Files that are there whole or not at all, and what of them can be trusted: their bytes, JSON."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class DiskFullError(OSError):
    """The disk was full while a file was being written; the message is a whole sentence."""


@contextmanager
def written_whole(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yield the name to write under; give the file its own name once it is complete.

    Parameters
    ----------
    path : Path
        The name of the complete file. A file that is there already is replaced in one step.
    partial : Path, optional
        The name until then, on the same device; by default hidden beside `path`. It is removed
        if the writing fails.

    Raises
    ------
    DiskFullError
        If the device has no room left. Any other OSError comes through as it is.
    """
    partial = partial or path.with_name(f".{path.name}.part")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"The disk is full: {path} could not be written.") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file that may have been damaged since it was written.

    Raises
    ------
    ValueError
        If it is not JSON, or nested without end.
    OSError
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: OSError) -> str:
    """What the system says went wrong, such as "permission denied", without any path."""
    return (error.strerror or type(error).__name__).lower()
