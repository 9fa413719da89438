"""A table in files: what `source` and `target` share where they have a `path`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from em_impute.job.confinement import check_url, confined
from em_impute.job.dates import with_known_dates
from em_impute.job.types import Section

Format = Literal["csv", "parquet", "feather", "jsonl"]
_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What a URL of Arrow's object stores may say besides the place: nothing that is a secret.
_URL_OPTIONS = {"region", "scheme", "endpoint_override"}


def _location(value: object) -> Path | str:
    """A local path as a Path, a URL as text."""
    if not isinstance(value, str | Path):
        raise PydanticCustomError("path_type", "Input is not a path")
    with_known_dates(str(value))
    if isinstance(value, str) and _URL.match(value):
        url = _split_url(value)
        if url.scheme != "file":
            _check_no_secrets(value)
            check_url(value)
            return value
        value = unquote(url.path)
    return _usable_path(Path(value))


def _usable_path(path: Path) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("expected the path of a file, such as data/table.csv")
    if path.parts[0].startswith("~"):
        raise ValueError("~ is not expanded in a job; write the folder in full")
    confined(path)
    return path


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # Python's own words quote the part with the password.
        raise ValueError("expected a URL, such as s3://bucket/table.parquet") from None


def _check_no_secrets(url: str) -> None:
    # fsspec chains URLs, as in zip://a.csv::https://host/b.zip.
    for link in map(_split_url, url.split("::")):
        options = {key for key, _ in parse_qsl(link.query, keep_blank_values=True)}
        if link.netloc.rpartition("@")[0] not in ("", "anonymous") or options - _URL_OPTIONS:
            raise ValueError(
                "a URL in a job holds no password, key or token; remove it, and give it in the "
                "environment, as in AWS_ACCESS_KEY_ID or GOOGLE_APPLICATION_CREDENTIALS"
            )


# A string is a URL.
Location = Annotated[
    Path | str,
    PlainValidator(_location),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]


class TableFile(Section):
    """A table in files; a relative path begins in the folder the program is started in."""

    path: Location = Field(description="Path of the file.", examples=["data/table.csv"])
    format: Format | None = Field(None, description="Format of the file; default: by its suffix.")

    @property
    def file_format(self) -> Format:
        """The format that was given, or else the one that the suffix tells."""
        return self.format or _FORMAT_OF_SUFFIX[self._suffix]

    @property
    def _suffix(self) -> str:
        return self._name.suffix.lower()

    @property
    def _name(self) -> PurePosixPath:
        path = urlsplit(self.path).path if isinstance(self.path, str) else self.path
        return PurePosixPath(PurePosixPath(path).name)

    def __str__(self) -> str:
        return str(self.path)

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        if self.format is None and self._suffix not in _FORMAT_OF_SUFFIX:
            raise ValueError(
                f"the path ends in none of {', '.join(_FORMAT_OF_SUFFIX)}; "
                "add its format, for example `format: csv`"
            )
        return self
