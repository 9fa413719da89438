"""The page `keys.md`: every key of a job, from its JSON Schema."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any


def keys_page(schema: dict[str, Any]) -> str:
    """Every key of a job, section by section, as Markdown."""
    intro = (
        "# Every key of a job\n\n"
        "Made from the JSON Schema that `em-impute schema` prints. [The job file](job.md) explains "
        "the keys in their context.\n"
    )
    sections = {
        (path, section["title"]): section
        for path, section in _sections("", schema, schema["$defs"])
    }
    paths = Counter(path for path, _ in sections)
    titles = (
        "The job itself"
        if not path
        else f"`{path}`: {_words(title)}"
        if paths[path] > 1
        else f"`{path}`"
        for path, title in sections
    )
    return "\n".join(
        [
            intro,
            *(
                _section(heading, path, section)
                for heading, ((path, _), section) in zip(titles, sections.items(), strict=True)
            ),
        ]
    )


def _words(title: str) -> str:
    """The name of a class in words: FileSource is a file source."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title).lower()


def _sections(
    path: str, section: dict[str, Any], definitions: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A section of the schema and those within it, each with the path of its keys."""
    properties = {
        key: _resolved(value, definitions) for key, value in section.get("properties", {}).items()
    }
    yield path, {**section, "properties": properties}
    for key, value in properties.items():
        inner = f"{path}.{key}" if path else key
        for option in _options(value, definitions):
            yield from _sections(inner, option, definitions)


def _resolved(value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A key with the definition that it refers to put in; what it says itself goes first."""
    if "$ref" not in value:
        return value
    return {**definitions[value["$ref"].rpartition("/")[2]], **value}


def _options(value: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The mappings that a key may hold: itself, an alternative, the items of a list."""
    for option in value.get("anyOf", value.get("oneOf", ())):
        yield from _options(_resolved(option, definitions), definitions)
    if "properties" in value and "title" in value:
        yield value
    if isinstance(value.get("items"), dict):
        yield from _options(_resolved(value["items"], definitions), definitions)


def _section(heading: str, path: str, section: dict[str, Any]) -> str:
    required = section.get("required", ())
    lines = [f"## {heading}", "", _cell(section.get("description", "")), ""]
    lines += ["| key | meaning |", "|---|---|"]
    for key, value in section["properties"].items():
        name = f"{path}.{key}" if path else key
        default = "required" if key in required else _default(value)
        kind = f"{_type(value)}; {default}"
        meaning = f"{value.get('description', '')}{_example(value)}"
        lines.append(f"| `{name}` | {kind[0].upper()}{kind[1:]}.<br>{_cell(meaning)} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """A text on one line, as a cell of a table in Markdown."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _type(value: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if options := value.get("anyOf") or value.get("oneOf"):
        words = [_type(option) for option in options if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "$ref" in value:
        return "mapping"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{item}`" for item in value["enum"])
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "array": "list",
        "object": "mapping",
        "null": "null",
    }[value.get("type", "object")]
    limits = {
        "minimum": "{} or more",
        "maximum": "at most {}",
        "exclusiveMinimum": "above {}",
        "exclusiveMaximum": "below {}",
        "maxLength": "at most {} characters",
        "minItems": "at least {} items",
    }
    limited = [text.format(f"{value[key]:,}") for key, text in limits.items() if key in value]
    return ", ".join([words, *limited])


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default in (None, {}) or isinstance(default, dict):
        return "no default" if default is None else "by default all as below"
    return f"by default `{json.dumps(default)}`"


def _example(value: dict[str, Any]) -> str:
    examples = value.get("examples")
    return f" For example `{json.dumps(examples[0])}`." if examples else ""
