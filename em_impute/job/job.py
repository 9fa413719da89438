"""What may stand in a job file: `Job` and its sections; `job_schema` gives the same to editors."""

from __future__ import annotations

import codecs
import os
import re
import zoneinfo
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    Strict,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from em_impute.job import rhythms
from em_impute.job.confinement import check_url, confined
from em_impute.job.mistakes import CannotRun, Places, did_you_mean, dotted, listed

Format = Literal["csv", "parquet", "feather", "jsonl"]
Mode = Literal["replace", "append", "upsert"]
Severity = Literal["critical", "warning", "info"]

BATCH_ROWS = 65_536
MASK = "em_impute_mask"
"""The column that tells the imputed cells of each row."""
# More cells than this share cannot be hidden from a fit.
LARGEST_REFIT_SHARE = 0.5

_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
# Files of text may be compressed; they are read as what they are without this suffix.
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What a URL of Arrow's object stores may say besides the place: nothing that is a secret.
_URL_OPTIONS = {"region", "scheme", "endpoint_override"}

_ENGINE_OF_SCHEME = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
}
_DATABASE_URLS = "postgresql://host/database, sqlite:///file.db or duckdb:///file.duckdb"


def _usable_path(path: Path) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("expected the path of a file, such as data/table.csv")
    if path.parts[0].startswith("~"):
        raise ValueError("~ is not expanded in a job; write the folder in full")
    confined(path)
    return path


def _location(value: object) -> Path | str:
    """A local path as a Path, a URL as text."""
    if not isinstance(value, str | Path):
        raise PydanticCustomError("path_type", "Input is not a path")
    _with_known_dates(str(value))
    if isinstance(value, str) and _URL.match(value):
        url = _split_url(value)
        if url.scheme != "file":
            _check_no_secrets(value)
            check_url(value)
            return value
        value = unquote(url.path)
    return _usable_path(Path(value))


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


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{listed(twice)}: named more than once in this list; keep one")
    return names


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("expected at least one name; leave the key out for the default")
    return names


def _at_least_two(levels: tuple[str, ...]) -> tuple[str, ...]:
    if len(levels) < 2:
        raise ValueError("expected at least two levels")
    return levels


def _with_known_dates(text: str) -> str:
    """See that what looks like a date's place is one."""
    places = list(_DATE.finditer(text))
    if text.count("{date") != len(places):
        raise ValueError("expected {date}, or a format within, such as {date:%Y-%m-%d}")
    for place in places:
        if place[1] is not None and not _DATE_FORMAT.fullmatch(place[1]):
            raise ValueError(
                "a date is written with %Y, %y, %m, %d, %j, %b, %B, %G, %V or %u and what stands "
                "between them, such as {date:%Y-%m-%d}"
            )
    return text


def _known_timezone(timezone: str) -> str:
    zones = zoneinfo.available_timezones()
    if timezone not in zones:
        nearest = did_you_mean(timezone, zones)
        raise ValueError(f"unknown time zone{nearest}; expected an IANA name such as Europe/Paris")
    return timezone


def _prior_rows(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError("expected auto, or a number of pseudo-rows that is 0 or more")


def _transform(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        transform: Transform = handler(value)
        if isinstance(transform, str) or transform.logit[0] < transform.logit[1]:
            return transform
    raise ValueError(f"expected {', '.join(_PLAIN_TRANSFORMS)}, or for example {{logit: [0, 100]}}")


def _bounds(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        bounds: tuple[float | None, float | None] = handler(value)
        low, high = bounds
        if low is not None and high is not None and low > high:
            raise ValueError("the lower bound is above the upper one; write [low, high]")
        return bounds
    raise ValueError("expected [low, high], each a number, or null where there is no bound")


def _rounded(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError("expected true for every imputed column, or a list of columns, each once")


def _categories(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        "expected nominal, or the levels in their order, such as [low, mid, high]: "
        "two or more texts, each once"
    )


def _interval(value: object, handler: ValidatorFunctionWrapHandler) -> timedelta:
    with suppress(ValidationError):
        interval: timedelta = handler(value)
        if rhythms.SHORTEST <= interval <= rhythms.LONGEST and not isinstance(value, bool):
            return interval
    raise ValueError(
        "expected 60 seconds to 10 years, in seconds or as an ISO 8601 duration such as PT1H30M"
    )


def split_database_url(url: str) -> tuple[str, SplitResult]:
    """Take a database's URL apart.

    Returns
    -------
    engine : str
        ``"postgresql"``, ``"sqlite"`` or ``"duckdb"``.
    parts : SplitResult

    Raises
    ------
    ValueError
        With a sentence that does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        engine = _ENGINE_OF_SCHEME[parts.scheme.partition("+")[0]]
        _ = parts.port  # a ValueError if it is no number
    except (ValueError, KeyError):
        raise ValueError(f"expected the URL of a database, such as {_DATABASE_URLS}") from None
    if engine == "postgresql":
        # What stands after an unescaped / of a password would be taken for the host, and be shown.
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise ValueError(
                "in the URL of a database, a user or password is written with %2F for /, %3F for "
                "?, %23 for # and %40 for @"
            )
        if "sslkeylogfile" in {key.lower() for key, _ in parse_qsl(parts.query)}:
            raise ValueError("remove sslkeylogfile: it writes the keys of the connection to a file")
    elif parts.netloc or not parts.path.strip("/") or "%00" in parts.path:
        raise ValueError(
            f"expected the path of a file after three slashes, such as {engine}:///data/sales.db "
            f"(four, {engine}:////data/sales.db, begin at the root)"
        )
    elif parts.path == "/:memory:":
        raise ValueError("expected a file: a database in memory ends with the program")
    return engine, parts


def holds_password(url: SplitResult) -> bool:
    """Whether a password stands in the URL of a database."""
    options = {key.lower() for key, _ in parse_qsl(url.query)}
    return url.password is not None or bool(options & {"password", "sslpassword"})


def database_file(parts: SplitResult) -> Path:
    """The file of a URL: relative after three slashes, absolute after four, as in SQLAlchemy."""
    return Path(unquote(parts.path.removeprefix("/")))


def _database_url(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str):
        engine, parts = split_database_url(value)
        if holds_password(parts):
            raise ValueError(
                "a password must not stand in a job; take it out and name the environment variable "
                "that holds it, for example `password: {env: WAREHOUSE_PASSWORD}`"
            )
        if engine != "postgresql":
            confined(database_file(parts))
        return value
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        f"expected the URL of a database, such as {_DATABASE_URLS}, or the environment variable "
        "that holds it, such as {env: WAREHOUSE_URL}, or a block of Prefect, such as "
        "{block: em-impute-database/warehouse}"
    )


def _password(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        "a password must not stand in a job; name the environment variable that holds it, "
        "for example `password: {env: WAREHOUSE_PASSWORD}`, or a block of Prefect, such as "
        "`password: {block: secret/warehouse-password}`"
    )


def split_table(name: str) -> tuple[str, ...]:
    """Take the name of a table apart: ``sales.orders``, or ``sales."odd.name"`` in quotes.

    Raises
    ------
    ValueError
        If it is no table's name, with or without a schema's before it.
    """
    if not _TABLE.fullmatch(name) or "\0" in name:
        raise ValueError(
            "expected a table, such as orders or sales.orders; a name that itself has a dot or a "
            "quote stands in double quotes, such as '\"my.table\"'"
        )
    return tuple(
        part[1:-1].replace('""', '"') if part.startswith('"') else part
        for part in _PART.findall(name)
    )


def _table(name: str) -> str:
    split_table(name)
    return _with_known_dates(name)


def _some_sql(query: str) -> str:
    query = query.strip().rstrip(";").rstrip()
    if not query or "\0" in query:
        raise ValueError("expected a query, such as select * from sales.orders")
    return _with_known_dates(query)


def _one_character(text: str) -> str:
    if len(text) != 1 or ord(text) > 127 or text in "\r\n\0" or text.isalnum():
        raise ValueError("expected one character that is no letter or digit, such as ; or \\t")
    return text


def _known_encoding(name: str) -> str:
    try:
        known = codecs.lookup(name)
    except (LookupError, ValueError):
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise ValueError("expected an encoding of text, such as cp1252, latin-1 or utf-16")
    return known.name


def _as_spelled(value: object) -> object:
    """A number as it would be written."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value}"
    return value


def _missing(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    with suppress(ValidationError):
        return handler(value)
    raise ValueError(
        'expected a list of what stands for a missing cell, such as ["-999", "."], or a mapping of '
        "columns to such lists, such as {income: [-999]}"
    )


def _self_test(value: object) -> object:
    """Turn the method alone into the fields of SelfTestOptions."""
    if isinstance(value, str) and value in ("off", "fill", "refit"):
        return {"method": value}
    if isinstance(value, str | bool | int | float):
        raise ValueError(
            "expected off, fill or refit, or a mapping such as "
            "{method: fill, max_rmse_ratio: 1.0, min_coverage_95: 0.9}"
        )
    return value


def _for_all_or_by_column(value: object) -> str:
    return BY_COLUMN if isinstance(value, dict) else FOR_ALL


def _some_columns(limits: dict[str, float]) -> dict[str, float]:
    if not limits:
        raise ValueError("expected at least one column with its limit; leave the key out for none")
    return limits


def _check_from_yaml(value: object) -> object:
    """Turn `{expect_x: {column: y, severity: warning}}` into the fields of a Check."""
    if isinstance(value, Check):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(
            "expected one expectation with its options, such as "
            "{expect_column_values_to_not_be_null: {column: Temp}}"
        )
    ((expectation, options),) = value.items()
    if not isinstance(options, dict):
        return {"expectation": expectation, "kwargs": options}
    kwargs = {key: option for key, option in options.items() if key != "severity"}
    severity = {"severity": options["severity"]} if "severity" in options else {}
    return {"expectation": expectation, "kwargs": kwargs, **severity}


# A limit of the self-test is a number, or a number for each of some columns.
LIMIT_KINDS = FOR_ALL, BY_COLUMN = "for all", "by column"

# Where the data date stands in the name of a source or target, and how it may be written.
_DATE = re.compile(r"\{date(?::([^{}]*))?\}")
_DATE_FORMAT = re.compile(r"(?:[^%]|%[YymdjbBGVu])*%[YymdjbBGVu](?:[^%]|%[YymdjbBGVu])*")

_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_TABLE = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))?")

_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 60},
        {"type": "string", "format": "duration"},
    ]
}

# Strict: `yes`, "1e-6" or true must not pass for a number.
Number = Annotated[float, Strict()]
Count = Annotated[int, Strict()]
_UNIQUE = Field(json_schema_extra={"uniqueItems": True})
Names = Annotated[tuple[str, ...], AfterValidator(_distinct), _UNIQUE]
SomeNames = Annotated[
    Names, AfterValidator(_at_least_one), Field(json_schema_extra={"minItems": 1})
]
# A string is a URL.
Location = Annotated[
    Path | str,
    PlainValidator(_location),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
PriorRows = Annotated[Literal["auto"] | Annotated[Number, Field(ge=0)], WrapValidator(_prior_rows)]
Bounds = Annotated[tuple[Number | None, Number | None], WrapValidator(_bounds)]
Levels = Annotated[Names, AfterValidator(_at_least_two), Field(json_schema_extra={"minItems": 2})]
Categories = Annotated[Literal["nominal"] | Levels, WrapValidator(_categories)]
Rounded = Annotated[Annotated[bool, Strict()] | Names, WrapValidator(_rounded)]
RRule = Annotated[str, AfterValidator(rhythms.recurrence)]
Cron = Annotated[str, AfterValidator(rhythms.cron_line)]
Interval = Annotated[timedelta, WrapValidator(_interval), WithJsonSchema(_DURATION)]
_OneLimit = TypeVar("_OneLimit")
Limit = Annotated[
    Annotated[_OneLimit, Tag(FOR_ALL)]
    | Annotated[
        dict[str, _OneLimit],
        AfterValidator(_some_columns),
        Field(json_schema_extra={"minProperties": 1}),
        Tag(BY_COLUMN),
    ],
    Discriminator(_for_all_or_by_column),
]
Ratio = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(gt=0, lt=1)]
TableName = Annotated[str, AfterValidator(_table)]
Query = Annotated[str, AfterValidator(_some_sql)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]


OneCharacter = Annotated[str, AfterValidator(_one_character)]
Encoding = Annotated[str, AfterValidator(_known_encoding)]
Spellings = Annotated[
    tuple[Annotated[str, BeforeValidator(_as_spelled)], ...],
    WithJsonSchema({"type": "array", "items": {"type": ["string", "number"]}}),
]
Missing = Annotated[Spellings | dict[str, Spellings], WrapValidator(_missing)]
_MISSING = Field(
    (),
    description="What stands for a missing cell besides nothing, NA and null: a list for all "
    "columns, or a mapping of columns.",
    examples=[["-999", "."], {"income": [-999], "country": []}],
)


class Section(BaseModel):
    """A mapping of the job file: only the keys that it names are allowed."""

    # A job made in Python must not have its inputs, perhaps a password, quoted by pydantic either.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


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
                "the path does not tell the format, as it would by ending in "
                f"{', '.join(_FORMAT_OF_SUFFIX)}; add for example `format: csv`"
            )
        return self


class CsvOptions(Section):
    """How a CSV file is written, where it is not as RFC 4180 has it."""

    delimiter: OneCharacter = Field(
        ",", description="What stands between two fields.", examples=[";", "\t"]
    )
    decimal: Literal[".", ","] = Field(".", description="The decimal point of numbers.")
    thousands: Literal[",", ".", " ", "'", "_", "\u00a0", "\u202f"] | None = Field(
        None, description="What stands between groups of three digits.", examples=["."]
    )
    encoding: Encoding = Field(
        "utf-8", description="The encoding of the text.", examples=["cp1252", "utf-16"]
    )
    header: Annotated[bool, Strict()] | SomeNames = Field(
        True,
        description="Whether the first line has the names of the columns; or the names, for a "
        "file that has none.",
        examples=[False, ["id", "price"]],
    )
    comment: OneCharacter | None = Field(
        None, description="Lines that begin with this are passed over.", examples=["#"]
    )
    quote: OneCharacter | None = Field(
        '"', description="What a field stands in that holds a delimiter; null for nothing."
    )
    skip_rows: Count = Field(0, ge=0, description="Lines before the header to pass over.")

    @model_validator(mode="after")
    def _tell_apart(self) -> Self:
        names = ("delimiter", "decimal", "comment", "quote")
        for one, other in (*combinations(names, 2), ("decimal", "thousands")):
            if getattr(self, one) is not None and getattr(self, one) == getattr(self, other):
                raise ValueError(f"{one} and {other} are the same character; change one of them")
        return self


class FileSource(TableFile):
    """The table to read: a file, or a folder of files, here or at a URL."""

    path: Location = Field(
        description="Path or URL of the file, or of a folder with the files of one table.",
        examples=["data/table.csv"],
    )
    csv: CsvOptions = Field(
        CsvOptions(),
        description="How CSV files are written: delimiter, decimal comma, encoding and the like.",
        examples=[{"delimiter": ";", "decimal": ","}],
    )
    missing: Missing = _MISSING

    @property
    def is_text(self) -> bool:
        """Whether it says how its cells are spelled, and not of which types its columns are."""
        return self.file_format in ("csv", "jsonl")

    @property
    def _suffix(self) -> str:
        name = self._name
        compressed = name.suffix.lower() in COMPRESSED_SUFFIXES
        return (name.with_suffix("") if compressed else name).suffix.lower()

    @model_validator(mode="after")
    def _options_are_of_csv(self) -> Self:
        if self.csv != CsvOptions() and self.file_format != "csv":
            raise ValueError(f"csv: the source is {self.file_format}; remove these options")
        return self


class FileTarget(TableFile):
    """The table to write: it is replaced in one step, when all else has gone well."""

    path: Location = Field(
        description="Path of the file, or with partition_by of the folder.",
        examples=["out/table.parquet"],
    )
    mode: Literal["replace", "append", "upsert"] = Field(
        "replace",
        description="replace: the new table alone; append: after the rows that are there; "
        "upsert: in place of those with the same columns.key.",
    )
    partition_by: Names | None = Field(
        None,
        description="Columns that name the folders of a folder of files; [] for one file in it; "
        "default: the target is a file.",
        examples=[["year"]],
    )
    keep_versions: Count | None = Field(
        None,
        ge=1,
        description="Versions of a folder that are kept, the published one among them; default: 3.",
        examples=[3],
    )
    lock_timeout: Number = Field(
        60, ge=0, description="Seconds to wait for another run that publishes to the same target."
    )

    @property
    def is_folder(self) -> bool:
        """Whether the table is a folder of files, in versions."""
        return self.partition_by is not None

    @property
    def staged_format(self) -> Format:
        """Format in which the table waits: lossless where it is written anew to be published."""
        return "feather" if self.is_folder or self.mode != "replace" else self.file_format

    @field_validator("path")
    @classmethod
    def _is_local(cls, path: Path | str) -> Path | str:
        if isinstance(path, str):
            raise ValueError("expected a local path: a target at a URL is not supported")
        return path

    @field_validator("partition_by")
    @classmethod
    def _is_seen_by_readers(cls, names: Names | None) -> Names | None:
        if hidden := [name for name in names or () if name.startswith((".", "_"))]:
            raise ValueError(
                f"{hidden[0]}: readers pass over folders whose names begin with . or _; rename the "
                "column in the source"
            )
        return names

    @model_validator(mode="after")
    def _versions_are_of_folders(self) -> Self:
        if self.keep_versions is not None and not self.is_folder:
            raise ValueError(
                "only folders have versions: add partition_by ([] for one file), or remove "
                "keep_versions"
            )
        return self


class FromEnvironment(Section):
    """A value that stands in an environment variable, not in the job."""

    env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable.",
        examples=["WAREHOUSE_PASSWORD"],
    )

    def __str__(self) -> str:
        return f"the environment variable {self.env}"


class FromBlock(Section):
    """A value that a block keeps in Prefect, not in the job."""

    block: str = Field(
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Type and name of the block: secret/... or em-impute-database/...",
        examples=["em-impute-database/warehouse"],
    )

    def __str__(self) -> str:
        return f"the block {self.block}"


class Database(Section):
    """Where a database is, and how to log in; a secret is only named, never written."""

    url: Annotated[str | FromEnvironment | FromBlock, WrapValidator(_database_url)] = Field(
        description="URL of the database, without a password; or {env: NAME} for the environment "
        "variable that holds it, or {block: TYPE/NAME} for the block in Prefect, with or without "
        "one.",
        examples=["postgresql://host/database", {"env": "WAREHOUSE_URL"}],
    )
    password: Annotated[FromEnvironment | FromBlock, WrapValidator(_password)] | None = Field(
        None,
        description="{env: NAME} or {block: TYPE/NAME}: the environment variable, or the block in "
        "Prefect, that holds the password.",
        examples=[{"env": "WAREHOUSE_PASSWORD"}],
    )

    @property
    def url_shown(self) -> str:
        """The database as messages name it: its URL without the user, or who keeps the URL."""
        if isinstance(self.url, FromEnvironment):
            return f"${self.url.env}"
        if isinstance(self.url, FromBlock):
            return f"{self.url}"
        return self.url.partition("?")[0].replace(f"{urlsplit(self.url).username}@", "", 1)


class DatabaseSource(Database):
    """The table of a database, or the rows of a query, to read."""

    table: TableName | None = Field(
        None, description="The table, with or without its schema.", examples=["sales.orders"]
    )
    query: Query | None = Field(
        None,
        description="Instead of a table: the query whose rows are read.",
        examples=["select id, price from sales.orders where year = 2026"],
    )
    missing: Missing = _MISSING

    def __str__(self) -> str:
        what = "a query" if self.table is None else f"the table {self.table}"
        return f"{what} of {self.url_shown}"

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.table is None) == (self.query is None):
            came = "neither" if self.table is None else "both"
            raise ValueError(f"expected either table or query, got {came}")
        return self


class DatabaseTarget(Database):
    """The table of a database to write."""

    table: TableName = Field(
        description="The table, with or without its schema; it is made if it is missing.",
        examples=["sales.orders_filled"],
    )
    mode: Mode = Field(
        "replace",
        description="replace: the table's rows are replaced; append: rows are added; upsert: rows "
        "with the same columns.key are updated, the others added.",
    )
    narrowing: Literal["refuse", "allow"] = Field(
        "refuse",
        description="What to do where the types of the table would change a cell that was not "
        "filled: refuse the table, or count the cells and warn.",
    )

    @property
    def file_format(self) -> Format:
        """The format in which the table waits for its publication: it loses nothing."""
        return "feather"

    @property
    def staged_format(self) -> Format:
        """The same: a database's table is always loaded anew."""
        return self.file_format

    def __str__(self) -> str:
        return f"the table {self.table} of {self.url_shown}"


def file_or_database(value: object) -> str:
    """Tell by its keys which kind of source or target is meant."""
    if isinstance(value, Database) or (isinstance(value, dict) and "url" in value):
        return "database"
    return "file"


Source = Annotated[
    Annotated[FileSource, Tag("file")] | Annotated[DatabaseSource, Tag("database")],
    Discriminator(file_or_database),
]
Target = Annotated[
    Annotated[FileTarget, Tag("file")] | Annotated[DatabaseTarget, Tag("database")],
    Discriminator(file_or_database),
]
KINDS_OF_TABLE: dict[str, dict[str, type[Section]]] = {
    "source": {"file": FileSource, "database": DatabaseSource},
    "target": {"file": FileTarget, "database": DatabaseTarget},
}


_PLAIN_TRANSFORMS = ("log", "log1p", "sqrt", "cbrt")


class Logit(Section):
    """The logit of where a value stands in an interval, in YAML `{logit: [low, high]}`."""

    logit: tuple[Number, Number] = Field(description="The ends of the interval.")


Transform = Annotated[Literal["log", "log1p", "sqrt", "cbrt"] | Logit, WrapValidator(_transform)]


class Columns(Section):
    """The part that each column plays."""

    impute: SomeNames | None = Field(
        None,
        description="Columns to fill; default: every numeric column with missing cells.",
        examples=[["Ozone", "Solar.R"]],
    )
    predictors: Names | None = Field(
        None,
        description="Columns that only help to predict; default: every other numeric column.",
        examples=[["Wind", "Temp"]],
    )
    key: Names = Field(
        (),
        description="Columns that identify a row; default: the row number.",
        examples=[["Month", "Day"]],
    )
    group_by: Names = Field(
        (),
        description="Columns that divide the rows into groups, each with a model of its own.",
        examples=[["station"]],
    )
    transform: dict[str, Transform] = Field(
        {},
        description="Columns that the model sees transformed: by log, log1p, sqrt, cbrt or logit.",
        examples=[{"Ozone": "log", "humidity": {"logit": [0, 100]}}],
    )
    back_transform: Literal["median", "mean"] = Field(
        "median",
        description="What a transformed column is filled with: the transformed-back conditional "
        "mean of the model's scale, which is a median, or the conditional mean of its own scale.",
    )
    bounds: dict[str, Bounds] = Field(
        {},
        description="Lowest and highest value that a cell may be filled with; null for none.",
        examples=[{"Ozone": [0, None]}],
    )
    bounds_violated: Literal["stop", "keep"] = Field(
        "stop",
        description="What observed cells outside of their bounds mean: the job stops, or they are "
        "kept with a warning.",
    )
    strict: bool = Field(
        False,
        strict=True,
        description="Whether a column that is numbers but for a few cells stops the job, as it "
        "does where the job names the column.",
    )
    round: Rounded = Field(
        (),
        description="Columns that are filled with whole numbers: true for all. Integer columns of "
        "sources that have types (all but CSV) are, in any case.",
        examples=[["Ozone"]],
    )
    categories: dict[str, Categories] = Field(
        {},
        description="Columns of categories: nominal, or the levels in their order.",
        examples=[{"Species": "nominal", "grade": ["low", "mid", "high"]}],
    )

    @field_validator("categories")
    @classmethod
    def _no_numbers(
        cls, categories: dict[str, Categories], info: ValidationInfo
    ) -> dict[str, Categories]:
        numeric = {*info.data.get("transform", ()), *info.data.get("bounds", ())}
        if both := [name for name in categories if name in numeric]:
            raise ValueError(
                f"{listed(both)}: categories have no transform and no bounds; "
                "remove the column from one of them"
            )
        return categories

    @field_validator("predictors", "key", "group_by")
    @classmethod
    def _not_imputed(cls, names: Names | None, info: ValidationInfo) -> Names | None:
        imputed = set(info.data.get("impute") or ())
        if both := [name for name in names or () if name in imputed]:
            raise ValueError(f"{listed(both)}: also in columns.impute; remove it from one of them")
        return names


class ModelOptions(Section):
    """How the mean and covariance are estimated."""

    tol: Number = Field(
        1e-6, gt=0, lt=1, description="Estimated distance to the optimum, in sd, at which EM stops."
    )
    max_iter: Count = Field(1000, ge=1, description="Most iterations of EM.")
    prior: PriorRows = Field(
        "auto", description="Pseudo-rows of the ridge prior; auto: none unless the data need it."
    )
    acceleration: Literal["anderson", "squarem", "none"] = Field(
        "anderson", description="How EM is sped up; the answer is the same."
    )
    time_limit: Number | None = Field(
        None, gt=0, description="Most seconds that the fit may take.", examples=[600]
    )
    n_starts: Count = Field(
        1,
        ge=1,
        le=100,
        description="From how many points EM is started, to see whether all lead to one maximum.",
    )
    min_group_rows: Count | None = Field(
        None,
        ge=2,
        description="Fewest rows of a group that gets a model of its own, with columns.group_by; "
        "default: 50, or 5 for each column of the model if that is more.",
        examples=[100],
    )


class Imputation(Section):
    """What a missing cell is filled with."""

    method: Literal["mean", "draw"] = Field(
        "mean",
        description="mean: the expected value given what the row does show; draw: a draw from "
        "that distribution.",
    )
    seed: Count = Field(
        1, ge=0, description="What the draws begin from: the same seed gives the same draws."
    )
    mask: bool = Field(
        False,
        strict=True,
        description="Add the column em_impute_mask, which tells the imputed cells of each row.",
    )


NUMBER_LIMITS = ("max_rmse_ratio", "min_coverage_95", "max_pit_distance")
LEVEL_LIMITS = ("min_accuracy", "min_accuracy_gain")


class SelfTestOptions(Section):
    """Which observed cells are hidden to see how well they are filled, and what must come out."""

    method: Literal["off", "fill", "refit"] = Field(
        "fill",
        description="fill: the cells are hidden when the table is filled, by the fitted model; "
        "refit: they are hidden before a second fit, which fills them; off: no test.",
    )
    max_share: Number = Field(
        0.02, gt=0, le=1, description="Largest share of a column's observed cells that is hidden."
    )
    max_cells: Count = Field(50_000, ge=10, description="Most cells that are hidden.")
    seed: Count = Field(1, ge=0, description="What the choice of the cells begins from.")
    max_rmse_ratio: Limit[Ratio] | None = Field(
        None,
        description="Limit: the root mean squared error over that of the column's mean.",
        examples=[1.0, {"amount": 0.9}],
    )
    min_coverage_95: Limit[Share] | None = Field(
        None,
        description="Limit: the share of hidden cells that lie in their 95% intervals.",
        examples=[0.9, {"amount": 0.8}],
    )
    max_pit_distance: Limit[Share] | None = Field(
        None,
        description="Limit: how far the distribution of the PIT is from the uniform one.",
        examples=[0.1, {"amount": 0.2}],
    )
    min_accuracy: Limit[Share] | None = Field(
        None,
        description="Limit, of categories: the share of hidden cells whose level is right.",
        examples=[0.7, {"sex": 0.8}],
    )
    min_accuracy_gain: Limit[Annotated[Number, Field(gt=-1, lt=1)]] | None = Field(
        None,
        description="Limit, of categories: that share less that of the most frequent level.",
        examples=[0.0, {"sex": 0.1}],
    )

    @property
    def limits(self) -> dict[str, float | dict[str, float]]:
        """The limits that are set, by their names: for all columns, or by column."""
        named = {name: getattr(self, name) for name in (*NUMBER_LIMITS, *LEVEL_LIMITS)}
        return {name: limit for name, limit in named.items() if limit is not None}

    @property
    def has_limits(self) -> bool:
        """Whether its outcome can keep a table from being published."""
        return bool(self.limits)

    @model_validator(mode="after")
    def _can_be_held(self) -> Self:
        if self.method == "off" and self.has_limits:
            raise ValueError("`method: off` tests nothing, so it has no limits; remove one of both")
        if self.method == "refit" and self.max_share > LARGEST_REFIT_SHARE:
            raise ValueError(
                f"with `method: refit` max_share is at most {LARGEST_REFIT_SHARE:g}, so that the "
                "second fit has cells left; lower it, or test with `method: fill`"
            )
        return self


class Check(Section):
    """One expectation of Great Expectations, in YAML `{expect_x: {column: y, severity: info}}`."""

    expectation: str = Field(description="Name of the expectation, in snake case.")
    kwargs: dict[str, JsonValue] = Field({}, description="Its options.")
    severity: Severity = Field(
        "critical", description="critical: a failure stops the job; warning, info: it is shown."
    )

    @field_validator("kwargs")
    @classmethod
    def _severity_stands_alone(cls, kwargs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if "severity" in kwargs:
            raise ValueError("severity is a field of its own, not one of kwargs")
        return kwargs

    @model_serializer
    def _to_yaml(self) -> dict[str, dict[str, JsonValue]]:
        return {self.expectation: {**self.kwargs, "severity": self.severity}}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the YAML form, which is not that of the fields."""
        severity = cls.model_fields["severity"]
        options = {
            "severity": {
                "description": severity.description,
                "enum": list(get_args(Severity)),
                "default": severity.default,
            },
        }
        return {
            "description": "One expectation of Great Expectations, with its options.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": "object", "properties": options},
            "examples": [{"expect_column_values_to_not_be_null": {"column": "Temp"}}],
        }


CheckList = tuple[Annotated[Check, BeforeValidator(_check_from_yaml)], ...]


class Checks(Section):
    """What must hold before anything is filled, and before anything is published."""

    input: CheckList = Field((), description="Checks of the table that was read.")
    output: CheckList = Field((), description="Checks of the filled table, before it is published.")
    max_rows: Count = Field(
        2_000_000,
        ge=1,
        description="Most rows that Great Expectations sees; of a longer table, a sample.",
        examples=[2_000_000],
    )


class ReportOptions(Section):
    """What the report watches."""

    drift: Number | None = Field(
        0.25,
        gt=0,
        description="Change since the run before, in sd for means, from which on the "
        "report warns of it; null: never.",
        examples=[0.25],
    )


_RHYTHMS = ("cron", "interval", "rrule")


class Schedule(Section):
    """When the job runs by itself: by cron, at an interval or by a recurrence rule."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [rhythm], "properties": {rhythm: {"not": {"type": "null"}}}}
                for rhythm in _RHYTHMS
            ]
        }
    )

    cron: Cron | None = Field(
        None,
        description="Minute, hour, day, month and weekday, as in crontab.",
        examples=["0 3 * * *"],
    )
    interval: Interval | None = Field(
        None,
        description="Seconds from one run to the next, or an ISO 8601 duration.",
        examples=[3600],
    )
    rrule: RRule | None = Field(
        None,
        description="Recurrence rule of RFC 5545 (iCalendar).",
        examples=["FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0"],
    )
    timezone: Timezone = Field("UTC", description="IANA time zone in which the schedule is read.")
    offset_days: Count = Field(
        0,
        ge=-3660,
        le=3660,
        description="Days from a run's scheduled day to its data date: -1 for the day before.",
        examples=[-1],
    )

    @model_validator(mode="after")
    def _one_rhythm(self) -> Self:
        given = [rhythm for rhythm in _RHYTHMS if getattr(self, rhythm) is not None]
        if len(given) != 1:
            came = " and ".join(given) or "none of them"
            raise ValueError(f"expected one of cron, interval and rrule, got {came}")
        return self

    def data_date(self, scheduled: datetime) -> date:
        """The day that a run scheduled for this moment is about."""
        day = scheduled.astimezone(zoneinfo.ZoneInfo(self.timezone)).date()
        return day + timedelta(days=self.offset_days)

    def has_ended(self, moment: datetime) -> bool:
        """Whether no run is due any more after a moment."""
        zone = zoneinfo.ZoneInfo(self.timezone)
        return self.rrule is not None and rhythms.has_ended(self.rrule, moment.astimezone(zone))


def _one_or_several(value: object) -> str:
    return "several" if isinstance(value, list | tuple) else "one"


Schedules = Annotated[
    Annotated[Schedule, Tag("one")] | Annotated[tuple[Schedule, ...], Tag("several")],
    Discriminator(_one_or_several),
]


class KeptRuns(Section):
    """How long the folders of runs are kept: what is beyond either limit is removed."""

    count: Count | None = Field(None, ge=1, description="Most runs; default: all.", examples=[400])
    days: Count | None = Field(
        None, ge=1, description="Days since a run began; default: for ever.", examples=[365]
    )


class Job(Section):
    """One imputation job: read a table, fill its holes, check the result, publish it."""

    model_config = ConfigDict(title="em_impute job")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=100,
        description="Name of the job: of its run folder, its Prefect runs and its reports.",
        examples=["airquality"],
    )
    description: str | None = Field(
        None,
        max_length=5000,
        description="What the job is for, in Markdown; shown with its deployment in Prefect.",
        examples=["Fills the gaps of the night's sensor readings."],
    )
    tags: Names = Field(
        (), description="Tags of its deployment and runs in Prefect.", examples=[["sensors"]]
    )
    source: Source = Field(
        description="The table to read.", examples=[{"path": "data/airquality.csv"}]
    )
    columns: Columns = Field(Columns(), description="The part that each column plays.")
    model: ModelOptions = Field(ModelOptions(), description="How the model is estimated.")
    imputation: Imputation = Field(Imputation(), description="What a missing cell is filled with.")
    self_test: Annotated[
        SelfTestOptions,
        BeforeValidator(
            _self_test, json_schema_input_type=Literal["off", "fill", "refit"] | SelfTestOptions
        ),
    ] = Field(
        SelfTestOptions(),
        description="How well observed cells are filled when they are hidden: off, fill or refit, "
        "or a mapping with limits.",
        examples=[{"method": "refit", "min_coverage_95": 0.9}],
    )
    checks: Checks = Field(Checks(), description="What must hold before and after.")
    target: Target = Field(
        description="The table to write.", examples=[{"path": "out/airquality.parquet"}]
    )
    report: ReportOptions = Field(ReportOptions(), description="What the report watches.")
    batch_rows: Count = Field(
        BATCH_ROWS,
        ge=1,
        le=10_000_000,
        description="Rows that are in memory at a time; the answer is the same.",
    )
    time_limit: Number | None = Field(
        None,
        gt=0,
        description="Most seconds from reading to publishing; a run that takes longer publishes "
        "nothing.",
        examples=[7200],
    )
    keep_runs: KeptRuns = Field(
        KeptRuns(),
        description="Which run folders are kept; the latest that published always is.",
        examples=[{"days": 365}],
    )
    schedule: Schedules | None = Field(
        None,
        description="When the job runs by itself, once deployed or served: one schedule, or a list "
        "of them; default: only when asked.",
        examples=[{"cron": "0 3 * * *"}],
    )

    _places: Places = PrivateAttr(default_factory=Places)

    @field_validator("target")
    @classmethod
    def _keeps_the_source(
        cls, target: FileTarget | DatabaseTarget, info: ValidationInfo
    ) -> FileTarget | DatabaseTarget:
        _require_another_target(info.data.get("source"), target)
        return target

    @field_validator("target")
    @classmethod
    def _upsert_has_a_key(
        cls, target: FileTarget | DatabaseTarget, info: ValidationInfo
    ) -> FileTarget | DatabaseTarget:
        columns = info.data.get("columns")
        if target.mode == "upsert" and columns and not columns.key:
            raise ValueError(
                "`mode: upsert` finds the rows to replace by columns.key, which is empty; "
                "name the columns that identify a row there"
            )
        return target

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules, however many."""
        if isinstance(self.schedule, Schedule):
            return (self.schedule,)
        return self.schedule or ()

    def data_date(self, scheduled: datetime, schedule: int = 0) -> date:
        """The day that a run is about which a schedule, by its number, has set for a moment.

        A job without schedules is about the day itself, in UTC.
        """
        if not self.schedules:
            return scheduled.astimezone(UTC).date()
        return self.schedules[min(schedule, len(self.schedules) - 1)].data_date(scheduled)

    @property
    def is_dated(self) -> bool:
        """Whether the source or the target is another one for each data date."""
        return self.source_is_dated or self.target_is_dated

    @property
    def source_is_dated(self) -> bool:
        """Whether the source is another one for each data date."""
        return any(_DATE.search(text) for text in _texts(self.source).values())

    @property
    def target_is_dated(self) -> bool:
        """Whether the target is another one for each data date."""
        return any(_DATE.search(text) for text in _texts(self.target).values())

    def at(self, day: date) -> Self:
        """The job of one day: with its date in the place of ``{date}`` in source and target.

        Raises
        ------
        CannotRun
            If the target would be the source on that day.
        """
        source, target = _dated(self.source, day), _dated(self.target, day)
        try:
            _require_another_target(source, target)
        except ValueError as error:
            raise CannotRun(f"{self.place('target')}: target: on {day} {error}") from None
        return self.model_copy(update={"source": source, "target": target})

    def place(self, *loc: str | int) -> str:
        """Say where a part of the job is written.

        Parameters
        ----------
        *loc : str or int
            Keys and list positions (from 0) that lead to it, as in the file:
            ``"checks", "input", 0, "expect_column_to_exist", "column"``.

        Returns
        -------
        str
            "job.yaml:12:5" (line and column of that value, or of the nearest that is written),
            or "checks.input.0" for a job that was not read from a file.
        """
        if self._places.file is None:
            return dotted(loc)
        return self._places.describe(self._places.position(loc))


_Table = TypeVar("_Table", bound=Section)


def _texts(table: Section) -> dict[str, str]:
    """What names a table, by field: where a date may stand."""
    named = {key: getattr(table, key, None) for key in ("path", "table", "query")}
    return {key: str(value) for key, value in named.items() if value is not None}


def _dated(table: _Table, day: date) -> _Table:
    texts = {key: _with_date(text, day) for key, text in _texts(table).items()}
    return table.model_copy(
        update={key: type(getattr(table, key))(text) for key, text in texts.items()}
    )


def _with_date(text: str, day: date) -> str:
    return _DATE.sub(lambda match: day.strftime(match[1] or "%Y-%m-%d"), text)


def _require_another_target(source: object, target: FileTarget | DatabaseTarget) -> None:
    match source, target:
        case FileSource(path=Path() as path), FileTarget() if _overlap(path, Path(target.path)):
            raise ValueError(
                "this is the source's own file or folder, which would be overwritten; choose "
                "another path"
            )
        case DatabaseSource() as source, DatabaseTarget():
            if (source.url, source.table) == (target.url, target.table):
                raise ValueError(
                    "this is the source's own table, which would be overwritten; "
                    "choose another table"
                )


def _overlap(source: Path, target: Path) -> bool:
    """Whether one is the other, or lies in it."""
    one, other = (Path(os.path.realpath(path)) for path in (source, target))
    return one == other or one in other.parents or other in one.parents


def job_schema() -> dict[str, Any]:
    """Make the JSON Schema of a job file, for editors (yaml-language-server) and other tools."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **Job.model_json_schema()}
