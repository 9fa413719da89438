"""Every message that a user can be given has an entry on the page for troubleshooting."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PAGE = " ".join(TEXT.split())
# What only who writes a program against our functions can meet, and what is caught within.
FOR_PROGRAMS = {"ArrowInvalid", "AttributeError", "KeyError", "LinAlgError", "PydanticCustomError"}
# Where sentences only describe: what was done, what a picture shows, what `verify` found.
DESCRIPTIONS = (
    "em_impute/cli/",
    "em_impute/gaussian/status.py",
    "em_impute/gaussian/stopping.py",
    "em_impute/reporting/",
    "em_impute/runs/",
    "em_impute/job/checks.py",
    "em_impute/plugin/tasks.py",
    "em_impute/tables/groups.py",
    "em_impute/tables/progress.py",
    "em_impute/tables/databases/published_rows.py",
    "em_impute/tables/lakehouse/published_rows.py",
    "em_impute/tables/sql/dbt.py",
    "em_impute/tables/sql/select.py",
    "em_impute/tables/columns/unfilled.py",
    "flows/",
)
# Words of a message by which it is found must be so many letters long.
TELLING = 12
# Shorter than so many words, a text is no sentence.
SENTENCE = 5


def raised() -> Iterator[tuple[str, str]]:
    """Where each error is raised, and its message with … for what is put in."""
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                error = ast.unparse(node.exc.func).rpartition(".")[2]
                texts = [text for argument in node.exc.args if (text := _text(argument))]
                if error not in FOR_PROGRAMS and texts:
                    yield f"{path}:{node.lineno}", texts[0]


def constructed() -> Iterator[tuple[str, str]]:
    """Where a sentence is returned, yielded or kept in a name, to be raised or shown elsewhere."""
    for path, tree in modules():
        if not path.startswith(DESCRIPTIONS):
            for node in _outside_of_logs(tree):
                text = _text(node) if isinstance(node, ast.expr) else ""
                if text.rstrip().endswith(".") and len(text.split()) >= SENTENCE:
                    yield f"{path}:{node.lineno}", text


def modules() -> list[tuple[str, ast.Module]]:
    """All modules that users run."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in (*ROOT.glob("em_impute/**/*.py"), *ROOT.glob("flows/*.py"))
    ]


def _outside_of_logs(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a module that are no docstring, no option's text and no log line."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Expr(value=ast.Constant()) | ast.Raise():
                continue
            case (
                ast.keyword(arg="description" | "examples")
                | ast.Assign(targets=[ast.Name(id="model_config")])
            ):
                continue
            case ast.Call(func=ast.Attribute(attr="info" | "warning" | "debug")):
                continue
            case ast.JoinedStr():
                yield child
            case _:
                yield child
                yield from _outside_of_logs(child)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        return "".join(str(part) for part in parts)
    return ""


def telling_words(message: str) -> list[str]:
    """The parts of a message that are always the same, the longest first."""
    parts = [part.strip() for part in re.split("…", message)]
    return sorted((part for part in parts if len(part) >= TELLING), key=len, reverse=True)


def has_entry(message: str) -> bool:
    """Whether the page has the message, or only the beginning of what is long in it."""
    words = telling_words(message)
    return not words or any(part in PAGE or part[:40] in PAGE for part in words)


def test_each_message_has_an_entry() -> None:
    found = [*raised(), *constructed()]
    assert len(found) > 500
    lacking = [f"{place}: {message}" for place, message in found if not has_entry(message)]
    assert not lacking, "docs/troubleshooting.md has no entry for:\n" + "\n".join(lacking)


def test_the_entries_are_of_messages_that_there_are() -> None:
    sources = " ".join(
        " ".join(ast.unparse(ast.parse(path.read_text(encoding="utf-8"))).split())
        for path in (*Path(ROOT).glob("em_impute/**/*.py"), *Path(ROOT).glob("flows/*.py"))
    )
    for escaped, plain in (("\\'", "'"), ("{{", "{"), ("}}", "}")):
        sources = sources.replace(escaped, plain)
    rows = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    assert len(rows) > 40
    stale = [
        words[0]
        for row in rows
        for entry in row.split("<br>")
        if (words := telling_words(entry.strip("`"))) and words[0][:30] not in sources
    ]
    assert not stale
