"""What our own code never does: unpickle, run text as code, start a shell, read unsafe YAML.

Ruff's rules of flake8-bandit (S in pyproject.toml) see most of it, and every exception stands there
with its reason; here is what they do not see.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FILES = [*ROOT.glob("em_impute/**/*.py"), *ROOT.glob("flows/**/*.py")]

# Modules that run programs or code, or make objects of bytes.
MODULES = {
    *("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"),
    *("subprocess", "pty", "runpy", "code", "codeop", "ctypes"),
}
# `query` and `eval` of pandas run a text as code, too.
CALLS = {"eval", "exec", "compile", "__import__", "query", "read_pickle"}


def problems(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield module
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield from problems_of_call(name, node)


def problems_of_call(name: str, call: ast.Call) -> Iterator[str]:
    words = {word.arg: ast.unparse(word.value) for word in call.keywords}
    whole = ast.unparse(call)
    if name in CALLS and not whole.startswith("re."):
        yield whole
    if whole.startswith("np.load(") and words.get("allow_pickle") != "False":
        yield whole
    if name == "YAML" and words.get("typ") != "'safe'":
        yield whole


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_is_safe(path: Path) -> None:
    assert list(problems(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from os import path\nfrom subprocess import run",
        "eval('1')",
        "frame.query('x > 1')",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "YAML()",
        "YAML(typ='unsafe')",
    ],
)
def test_unsafe_source_is_found(text: str) -> None:
    assert len(list(problems(text))) == 1
