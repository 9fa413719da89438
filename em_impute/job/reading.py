"""From a job file to a `Job`, with every mistake at its line and column.

YAML becomes plain data with the place of each node, and what pydantic finds becomes sentences.
"""

from __future__ import annotations

import inspect
import io
import math
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from em_impute.job.confinement import OutsideError, confined
from em_impute.job.job import Job
from em_impute.job.lakehouse import kind_of_table
from em_impute.job.mistakes import (
    JobError,
    Loc,
    Places,
    Position,
    Problem,
    did_you_mean,
    dotted,
)
from em_impute.job.options import LIMIT_KINDS
from em_impute.job.schedule import Schedule
from em_impute.job.source import DatabaseSource, DeltaSource, FileSource, IcebergSource
from em_impute.job.target import DatabaseTarget, DeltaTarget, FileTarget, IcebergTarget
from em_impute.job.types import Section

# Far above any job; reading a file of this size takes seconds, and the time grows with the size.
_MOST_BYTES = 256 * 1024
# Aliases (`*a`) can turn a short text into a tree that has no end or that fills the memory.
_MOST_LEVELS = 40
_MOST_VALUES = 100_000

# What a message shows: an error goes into the log, and into the run's state in Prefect.
_MOST_MISTAKES = 100

_YAML_TAG = "tag:yaml.org,2002:"
_TEXT = {"str", "timestamp", "merge", "value"}
_VALUES = {"null", "bool", "int", "float"}

# How ruamel.yaml's complaints begin; whether to point to where the broken part was opened; what to
# say. Its own words are not passed on, because they can quote the file.
_SYNTAX = (
    ("found character '\\t'", False, "a tab; indent with spaces only"),
    ("found character", False, "text that begins with this character must be in quotes"),
    ("expected ',' or ']'", True, "this [ is not closed, or a comma is missing after it"),
    ("expected ',' or '}'", True, "this { is not closed, or a comma is missing after it"),
    ("found unexpected", True, "this quote is not closed"),
    ("found unknown escape", False, r"in double quotes \ is special; use single quotes"),
    ("mapping values", False, "a : out of place; check the indentation, or put text in quotes"),
    ("could not find expected ':'", True, "expected `key: value`; check the indentation too"),
    ("expected <block", False, "not in line with what stands above; check the indentation"),
    ("found undefined alias", False, "text that begins with * must be in quotes"),
    ("but found another document", False, "a second document begins; a file holds one job"),
    ("maximum depth", False, "nested too deeply for a job"),
)

# What was expected, by pydantic's type of error.
_EXPECTED = {
    "model_type": "a mapping (`key: value`)",
    "dict_type": "a mapping (`key: value`)",
    "tuple_type": "a list",
    "string_type": "text",
    "path_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of {ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "letters, digits, - and _ only, with a letter or digit first",
    "literal_error": "{expected}",
}

_KINDS = {
    type(None): "nothing",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


# In pydantic's paths the kind of a source or target stands after its key.
_KINDS_OF_TABLE: dict[str, dict[str, type[Section]]] = {
    "source": {
        "file": FileSource,
        "database": DatabaseSource,
        "delta": DeltaSource,
        "iceberg": IcebergSource,
    },
    "target": {
        "file": FileTarget,
        "database": DatabaseTarget,
        "delta": DeltaTarget,
        "iceberg": IcebergTarget,
    },
}


def load_job(path: Path) -> Job:
    """Return the job of a job file.

    Parameters
    ----------
    path : Path
        A YAML 1.2 file in UTF-8, of at most 256 KiB.

    Returns
    -------
    Job

    Raises
    ------
    JobError
        With all the mistakes in the file, sorted by line.
    """
    return _job(_Document(path))


def parse_job(text: str, name: str = "job") -> Job:
    """Return the job of the text of a job file.

    Parameters
    ----------
    text : str
        YAML 1.2, of which JSON is a part, of at most 256 KiB.
    name : str
        What mistakes call the text, before their line and column.

    Returns
    -------
    Job

    Raises
    ------
    JobError
        With all the mistakes in the text, sorted by line.
    """
    return _job(_Text(text, name))


def _job(document: _Document) -> Job:
    data = document.read()
    try:
        job = Job.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            loc = _loc_in_yaml(details["loc"], data)
            unknown = details["type"] == "extra_forbidden"
            position = document.places.keys[loc] if unknown else None
            document.refuse(loc, _sentence(details, loc, data), position)
    if document.mistakes:
        raise JobError(document.problems())
    job._places = document.places
    return job


class _Document:
    """A job file as plain data, with the place of every node and the mistakes found so far."""

    def __init__(self, path: Path) -> None:
        self.places = Places(path)
        self.mistakes: dict[tuple[Position, Loc], str] = {}
        self._path = path
        self._yaml = YAML(typ="safe", pure=True)
        # Naming an anchor twice is legal, and the warning would print lines of the file.
        self._yaml.composer.warn_double_anchors = False
        self._yaml.max_depth = _MOST_LEVELS + 1  # the whole file is the first level

    def read(self) -> Any:
        text = self._decode()
        try:
            root = self._yaml.compose(text)
        except (YAMLError, ValueError, LookupError, ArithmeticError) as error:
            # ruamel lets Python's own errors through for some escapes and %YAML directives.
            raise self._broken(*_syntax_mistake(error, text)) from None
        except RecursionError:  # a ruamel.yaml that has no max_depth yet
            raise self._broken("nested too deeply for a job") from None
        if root is None:
            raise self._broken("the file is empty; a job has a name, a source and a target")
        return self._plain(root, (), _position(root.start_mark))

    def refuse(self, loc: Loc, message: str, position: Position | None = None) -> None:
        """Note a mistake; a second one at the same place would only be its consequence."""
        position = position or self.places.position(loc)
        self.mistakes.setdefault((position, loc), message)

    def problems(self) -> list[Problem]:
        """Return the mistakes from the top of the file to its end."""
        in_order = sorted(self.mistakes.items(), key=lambda item: item[0][0])
        problems = [
            Problem(self.places.describe(position), ": ".join(filter(None, (dotted(loc), message))))
            for (position, loc), message in in_order[:_MOST_MISTAKES]
        ]
        if more := len(in_order) - len(problems):
            problems.append(Problem(str(self._path), f"and {more:,} more mistakes"))
        return problems

    def _decode(self) -> str:
        data = self._bytes()
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._broken(f"not UTF-8 (line {line}); save the file in UTF-8") from None

    def _bytes(self) -> bytes:
        try:
            path = confined(self._path)
            # Opening a pipe would wait for whoever writes to it, and a device may have no end.
            if not stat.S_ISREG(path.stat().st_mode):
                got = "a folder" if path.is_dir() else "a device or a pipe"
                raise self._broken(f"expected a job file, got {got}")
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OutsideError as outside:
            raise self._broken(str(outside)) from None
        except ValueError:  # Python's own, of a NUL in the path
            raise self._broken("expected the path of a job file") from None
        except FileNotFoundError:
            folder = self._path.absolute().parent
            raise self._broken(f"no such file in the folder {folder}; check the path") from None
        except OSError as error:
            raise self._broken(f"cannot be read: {error.strerror}") from None
        if len(data) > _MOST_BYTES:
            raise self._broken(f"larger than a job file may be ({_MOST_BYTES // 1024} KiB)")
        return data

    def _broken(self, message: str, position: Position | None = None) -> JobError:
        place = self.places.describe(position) if position else str(self._path)
        return JobError([Problem(place, message)])

    def _plain(self, node: Node, loc: Loc, position: Position) -> Any:
        self.places.values[loc] = position
        if len(loc) > _MOST_LEVELS:
            raise self._broken("nested too deeply for a job", position)
        if len(self.places.values) > _MOST_VALUES:
            raise self._broken(f"more than {_MOST_VALUES:,} values in one job", position)
        kind = _kind(node)
        match node:
            case MappingNode() if kind == "map":
                return self._mapping(node, loc)
            case SequenceNode() if kind == "seq":
                return [
                    self._plain(item, (*loc, i), _position(item.start_mark))
                    for i, item in enumerate(node.value)
                ]
            case ScalarNode() if kind in _TEXT:
                return self._text(node.value, loc)
            case ScalarNode() if kind in _VALUES:
                return self._value(node, loc)
        self.refuse(loc, "tags (such as !!python/object) are not accepted in a job")
        return None

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            position = _position(key.start_mark)
            if not _is_key(key):
                self.refuse((*loc, "?"), "a key must be plain text", position)
                continue
            child = (*loc, key.value)
            if key.value in data:
                first = self.places.keys[child][0]
                self.refuse(child, f"this key was already given on line {first}", position)
                continue
            self.places.keys[child] = position
            # To the parser, an empty value stands where the next word begins, lines below.
            empty = value.start_mark.index == value.end_mark.index
            start = position if empty else _position(value.start_mark)
            data[key.value] = self._plain(value, child, start)
        return data

    def _text(self, text: str, loc: Loc) -> str:
        if not _is_unicode(text):
            self.refuse(loc, r"not text: \ud800 to \udfff are halves of characters")
        return text

    def _value(self, node: ScalarNode, loc: Loc) -> Any:
        try:
            value = self._yaml.constructor.construct_object(node)
        except (ValueError, LookupError):
            return self._unreadable(loc)
        # In hexadecimal, Python reads numbers that it then refuses to write.
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            return self._unreadable(loc)
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(loc, "expected a finite number; for no limit leave the key out")
        return value

    def _unreadable(self, loc: Loc) -> None:
        self.refuse(loc, "the text does not fit the tag before it, or the number is too long")


class _Text(_Document):
    """The text of a job file that is no file."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(Path(name))
        self._content = text.encode("utf-8", "surrogatepass")  # which is then found not to be UTF-8

    def _bytes(self) -> bytes:
        if len(self._content) > _MOST_BYTES:
            raise self._broken(f"larger than a job may be ({_MOST_BYTES // 1024} KiB)")
        return self._content


def _syntax_mistake(error: Exception, text: str) -> tuple[str, Position | None]:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return "a control character, which YAML does not allow; remove it", (line, column)
    problem = getattr(error, "problem", None) or ""
    fallback = (False, "not valid YAML; check the quotes, brackets and indentation just before")
    known = ((opened, say) for begins, opened, say in _SYNTAX if problem.startswith(begins))
    opened, message = next(known, fallback)
    marks = ("context_mark", "problem_mark") if opened else ("problem_mark", "context_mark")
    mark = getattr(error, marks[0], None) or getattr(error, marks[1], None)
    return message, _position(mark) if mark else None


def _position(mark: StringMark) -> Position:
    return mark.line + 1, mark.column + 1


def _kind(node: Node) -> str:
    return str(node.tag).removeprefix(_YAML_TAG)


def _is_key(node: Node) -> bool:
    known = _kind(node) in _TEXT | _VALUES
    return known and isinstance(node, ScalarNode) and _is_unicode(node.value)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


# --- From pydantic's findings to sentences -----------------------------------------------------


def _loc_in_yaml(loc: Loc, data: Any) -> Loc:
    """Give the path in the file: there a check's fields stand under its expectation's name.

    In pydantic's path, the kind of a source, target, schedule or limit stands after its key.
    """
    if loc[:1] == ("self_test",) and len(loc) > 2 and loc[2] in LIMIT_KINDS:
        return (*loc[:2], *loc[3:])
    kinds = {**_KINDS_OF_TABLE, "schedule": ("one", "several")}
    if len(loc) > 1 and loc[1] in kinds.get(str(loc[0]), ()):
        return (loc[0], *loc[2:])
    if loc[:1] != ("checks",) or len(loc) < 4:
        return loc
    (expectation,) = data["checks"][loc[1]][loc[2]]
    rest = loc[4:] if loc[3] == "kwargs" else loc[3:]
    return (*loc[:3], expectation, *rest)


def _sentence(error: ErrorDetails, loc: Loc, data: Any) -> str:
    """Say what was expected and what came: its kind, never the value."""
    kind, context = error["type"], error.get("ctx", {})
    siblings = _keys_allowed(loc[:-1], data)
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return f"this key is missing{_example(siblings, loc)}"
    if kind == "extra_forbidden":
        nearest = did_you_mean(str(loc[-1]), siblings)
        return f"unknown key{nearest}; allowed here: {', '.join(siblings)}"
    expected = _EXPECTED.get(kind, "another value").format_map(context).replace("'", "")
    came = f", got {_KINDS[type(error['input'])]}" if kind.endswith("_type") else ""
    return f"expected {expected}{came}{_remedy(error, siblings, loc)}"


def _remedy(error: ErrorDetails, siblings: Mapping[str, FieldInfo], loc: Loc) -> str:
    value, field = error["input"], siblings.get(str(loc[-1])) if loc else None
    if error["type"] == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if value is None and field and not field.is_required():
        return "; leave the key out for the default"
    return _example(siblings, loc)


def _keys_allowed(loc: Loc, data: Any) -> Mapping[str, FieldInfo]:
    """Find the fields of the section at a path; none where the path leads to no section."""
    fields: Mapping[str, FieldInfo] = Job.model_fields
    for i, key in enumerate(loc):
        if i == 0 and key in _KINDS_OF_TABLE:
            fields = _KINDS_OF_TABLE[str(key)][kind_of_table(data[key])].model_fields
            continue
        if loc[0] == "schedule":
            return Schedule.model_fields
        annotation = fields[str(key)].annotation if key in fields else None
        types = (annotation, *get_args(annotation))
        sections = (t for t in types if inspect.isclass(t) and issubclass(t, Section))
        section = next(sections, None)
        fields = section.model_fields if section else {}
    return fields


def _example(fields: Mapping[str, FieldInfo], loc: Loc) -> str:
    key = str(loc[-1]) if loc else ""
    examples = fields[key].examples if key in fields else None
    if not examples:
        return ""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = True, 1000  # on one line
    yaml.dump(examples[0], stream)
    value = stream.getvalue().removesuffix("...\n").strip()
    return f"; for example `{key}: {value}`"
