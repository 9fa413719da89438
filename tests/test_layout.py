"""Who may import whom, and that the jobs in configs/ are what prefect.yaml deploys.

The import rules are the project's floor plan: rooms on a staircase, each of which knows only those
below it, and heavy libraries behind one door each.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]

# The rooms from the ground up. Each may import those below it that are named, and none above.
_GROUND = {"em_impute.gaussian", "em_impute.job"}
_TABLES = _GROUND | {"em_impute.tables"}
_CHECKED = _TABLES | {"em_impute.checks", "em_impute.self_test"}
_RUNS = _CHECKED | {"em_impute.reporting", "em_impute.runs"}
ROOMS: dict[str, set[str]] = {
    "em_impute.gaussian": set(),
    "em_impute.job": set(),
    "em_impute.tables": _GROUND,
    "em_impute.checks": _GROUND,
    "em_impute.self_test": _TABLES,
    "em_impute.reporting": _CHECKED,
    "em_impute.runs": _CHECKED | {"em_impute.reporting"},
    "em_impute.plugin": _RUNS,
    "em_impute.flows": _RUNS | {"em_impute.plugin"},
    "em_impute.cli": _RUNS | {"em_impute.plugin", "em_impute.flows"},
    # What users import in Python: each brings in the rooms that it needs, and no other.
    "em_impute": {
        "em_impute.batches",
        "em_impute.gaussian",
        "em_impute.estimator",
        "em_impute.factor",
        "em_impute.in_database",
        "em_impute.job_file",
        "em_impute.mixture",
        "em_impute.multiple",
        "em_impute.notebook",
        "em_impute.pooling",
    },
    "em_impute.batches": {"em_impute.gaussian", "em_impute.tables"},
    "em_impute.notebook": {"em_impute.gaussian", "em_impute.reporting"},
    "em_impute.frames": {"em_impute.gaussian"},
    "em_impute.column_options": {"em_impute.job"},
    "em_impute.typed_table": {"em_impute.frames", "em_impute.gaussian", "em_impute.tables"},
    "em_impute.fitted_columns": _TABLES | {"em_impute.column_options", "em_impute.typed_table"},
    "em_impute.estimator": {
        "em_impute.column_options",
        "em_impute.fitted_columns",
        "em_impute.frames",
        "em_impute.gaussian",
        "em_impute.multiple",
        "em_impute.tables",
        "em_impute.typed_table",
    },
    "em_impute.job_file": {"em_impute.column_options", "em_impute.estimator", "em_impute.job"},
    "em_impute.density": {"em_impute.frames", "em_impute.gaussian"},
    "em_impute.factor": {"em_impute.density", "em_impute.frames", "em_impute.gaussian"},
    "em_impute.mixture": {"em_impute.density", "em_impute.frames", "em_impute.gaussian"},
    "em_impute.multiple": {"em_impute.gaussian"},
    "em_impute.pooling": {"em_impute.gaussian"},
    "em_impute.in_database": _TABLES | {"em_impute.runs"},
    "em_impute.tasks": _TABLES | {"em_impute.plugin", "em_impute.runs"},
    "em_impute.__main__": {"em_impute.cli"},
    "em_impute.blocks": {"em_impute.plugin", "em_impute.flows"},
    "em_impute.expectations": {"em_impute.checks"},
}

# A heavy library (or a room that brings it along), and who may import it: at the top of the module,
# or only where it is used.
DOORS = {
    "prefect": {
        "em_impute.plugin": "top",
        "em_impute.flows": "top",
        "em_impute.cli": "inside",
    },
    "em_impute.plugin": {
        "em_impute.flows": "top",
        "em_impute.tasks": "top",
        "em_impute.blocks": "top",
        "em_impute.cli": "inside",
    },
    # Prefect's servers and workers import the blocks when they start: these bring no flow along.
    "em_impute.plugin.tasks": {
        "em_impute.flows.impute": "top",
        "em_impute.flows.direct": "inside",
        "em_impute.tasks": "top",
    },
    "em_impute.flows": {"em_impute.blocks": "top", "em_impute.cli": "inside"},
    "em_impute.flows.impute": {
        "em_impute.flows.automations": "top",
        "em_impute.flows.backfill": "top",
        "em_impute.flows.deployments": "top",
        "em_impute.flows.job_block": "inside",
        "em_impute.cli": "inside",
    },
    # Subclasses of its classes need them when they are defined; so their module, too, has a door.
    "great_expectations": {
        "em_impute.checks.great_expectations": "inside",
        "em_impute.checks.project": "inside",
        "em_impute.checks.actions": "inside",
        "em_impute.checks.expectations": "top",
    },
    "em_impute.checks.expectations": {
        "em_impute.checks.great_expectations": "inside",
        "em_impute.expectations": "top",
    },
    "distributed": {"em_impute.tables.engines": "inside"},
    # Only of a run whose lineage somebody wants.
    "openlineage": {
        "em_impute.runs.lineage.events": "top",
        "em_impute.runs.lineage.facets": "top",
        "em_impute.runs.lineage.sending": "inside",
    },
    "em_impute.runs.lineage.events": {"em_impute.runs.lineage.sending": "inside"},
    "deltalake": {"em_impute.tables.lakehouse": "inside"},
    "pyiceberg": {"em_impute.tables.lakehouse": "inside"},
    "rich": {"em_impute.cli.terminal": "top"},
    "em_impute.cli.terminal": {
        "em_impute.cli.run": "top",
        "em_impute.cli.ended": "top",
        "em_impute.cli.main": "inside",
    },
    # What these bring along, the command that needs it waits for, and no other.
    "em_impute.cli.check": {"em_impute.cli.main": "inside"},
    "em_impute.cli.run": {"em_impute.cli.main": "inside"},
    "em_impute.cli.ended": {"em_impute.cli.run": "inside"},
    "matplotlib": {
        "em_impute.notebook": "top",
        "em_impute.reporting.on_axes": "top",
    },
    "em_impute.reporting.on_axes": {"em_impute.notebook": "top"},
    "em_impute.notebook": {"em_impute": "inside"},
    # A table of numbers needs nothing of what jobs need.
    "em_impute.column_options": {
        "em_impute.estimator": "inside",
        "em_impute.fitted_columns": "top",
        "em_impute.job_file": "top",
    },
    "em_impute.fitted_columns": {"em_impute.estimator": "inside"},
    "em_impute.typed_table": {
        "em_impute.estimator": "inside",
        "em_impute.fitted_columns": "top",
    },
}


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    inside: bool  # a function, or `if TYPE_CHECKING`: not carried out when the module is imported

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def source_files() -> dict[str, Path]:
    """Every module of ours by the name it is installed under."""
    files = [*ROOT.glob("em_impute/**/*.py"), *ROOT.glob("flows/**/*.py")]
    return {module_name(path.relative_to(ROOT)): path for path in files}


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    parts = parts if parts[0] == "em_impute" else ("em_impute", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str, path: Path) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node, inside in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, package)
            submodules = {f"{source}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from (Import(module, name, inside) for name in submodules or {source})


def walk(node: ast.AST, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    yield node, inside
    for child in ast.iter_child_nodes(node):
        deeper = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        yield from walk(child, inside or deeper)


def absolute(node: ast.ImportFrom, package: str) -> str:
    parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*parents, *([node.module] if node.module else [])])


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def room_of(module: str) -> str:
    return max((room for room in ROOMS if is_within(module, room)), key=len)


MODULES = source_files()


@functools.cache
def imports() -> list[Import]:
    """What each module imports, looked for by one worker, not while each of them collects."""
    return [found for module, path in MODULES.items() for found in imports_of(module, path)]


def test_every_module_is_in_a_room() -> None:
    """A module beside the rooms would escape the rules below."""
    assert [m for m in MODULES if room_of(m) == "em_impute" and m != "em_impute"] == []


def test_rooms_import_only_the_rooms_they_may() -> None:
    crossings = [
        found
        for found in imports()
        if is_within(found.imported, "em_impute")
        and not may_cross(room_of(found.importer), room_of(found.imported))
    ]
    assert not crossings, "; ".join(map(str, crossings))


def may_cross(importer: str, imported: str) -> bool:
    return imported == importer or imported in ROOMS[importer]


def test_no_module_imports_what_imports_it() -> None:
    """No circle of any kind: an import in a function, or for types only, is one, too."""
    known: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in imports():
        if found.imported in MODULES and found.imported != found.importer:
            known[found.importer].add(found.imported)
    while leaves := [module for module, imported in known.items() if not imported]:
        known = {m: found - set(leaves) for m, found in known.items() if m not in leaves}
    # What is above a circle is left, too; what nobody left imports is not part of one.
    while tops := known.keys() - set().union(*known.values()):
        known = {m: found - tops for m, found in known.items() if m not in tops}
    assert not known, "; ".join(f"{m} imports {', '.join(sorted(i))}" for m, i in known.items())


def test_files_are_no_longer_than_500_lines() -> None:
    """Or their first lines give the reason, after the word "Long"."""
    long = [
        f"{module} has {lines} lines"
        for module, path in MODULES.items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
        and "Long, " not in (ast.get_docstring(ast.parse(path.read_text())) or "")
    ]
    assert not long, "; ".join(long)


def test_functions_are_no_longer_than_40_lines() -> None:
    """Their bodies, without the docstring; compiled kernels are one loop each, and may be."""
    long = [
        f"{module}.{node.name} has {lines} lines"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := lines_of_body(node)) > (25 if node.name == "climb" else 40)
        and not any("compiled" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert not long, "; ".join(long)


def lines_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


# Within the tables: whoever is on a step imports from it and those below it.
STEPS = (
    ("whole_files", "spelling", "progress", "row_keys", "sample", "digest"),
    ("snapshot", "run_folder", "engines"),
    ("reading",),
    ("columns",),
    ("writing", "databases", "lakehouse"),
    (
        "sources",
        "targets",
        "summarise",
        "whole_rows",
        "clusters",
        "scores",
        "imputations",
        "resample",
        "state",
        "groups",
        "ledger",
        "fill",
    ),
    ("sql",),
)


def test_tables_are_built_in_steps() -> None:
    step_of = {f"em_impute.tables.{part}": i for i, parts in enumerate(STEPS) for part in parts}

    def step(module: str) -> int:
        return step_of[".".join(module.split(".")[:3])]

    upward = [
        found
        for found in imports()
        if found.importer.startswith("em_impute.tables.")
        and found.imported.startswith("em_impute.tables.")
        and step(found.importer) < step(found.imported)
    ]
    assert not upward, "; ".join(map(str, upward))


@pytest.mark.parametrize("library", DOORS)
def test_heavy_library_comes_in_by_its_door(library: str) -> None:
    strays = [
        found
        for found in imports()
        if is_within(found.imported, library)
        and not is_within(found.importer, library)
        and not may_enter(found, DOORS[library])
    ]
    assert not strays, "; ".join(map(str, strays))


def may_enter(found: Import, doors: dict[str, str]) -> bool:
    return any(
        is_within(found.importer, room) and (found.inside or where == "top")
        for room, where in doors.items()
    )


# Imported when a frame is asked for, or chains are judged.
ON_DEMAND = {
    "pandas": {"em_impute.gaussian.estimates", "em_impute.gaussian.result"},
    "arviz_stats": {"em_impute.gaussian.posterior"},
}


def test_gaussian_needs_only_numpy_scipy_and_a_compiler() -> None:
    foreign = [
        found
        for found in imports()
        if room_of(found.importer) == "em_impute.gaussian"
        and found.imported.split(".")[0]
        not in {"em_impute", "numpy", "scipy", "numba", "threadpoolctl", *sys.stdlib_module_names}
        and not (found.inside and found.importer in ON_DEMAND.get(found.imported.split(".")[0], ()))
    ]
    assert not foreign, "; ".join(map(str, foreign))


PAGES = [
    f"em_impute.reporting.{name}"
    for name in (
        "plots",
        "self_test_plots",
        "component_plots",
        "on_axes",
        "pictures",
        "render",
        "index",
    )
]


def test_numbers_of_the_report_do_not_know_its_pages() -> None:
    upward = [
        found
        for found in imports()
        if room_of(found.importer) == "em_impute.reporting"
        and found.importer not in PAGES
        and found.imported in PAGES
    ]
    assert not upward, "; ".join(map(str, upward))


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("em_impute", set()),
        ("em_impute.cli.main", set()),
        ("em_impute.plugin.blocks", {"prefect", "pydantic"}),
    ],
)
def test_what_is_imported_often_is_light(module: str, allowed: set[str]) -> None:
    """The blocks are at each start of a Prefect server or worker, the command line for each Tab."""
    heavy = {"prefect", "great_expectations", "matplotlib", "numba", "sklearn", "pandas", "pyarrow"}
    heavy |= {"numpy", "scipy", "pydantic"}
    program = f"import sys, {module}; print(*sorted({heavy - allowed} & sys.modules.keys()))"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == ""


JOB_FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*.yaml"))


def read_yaml(path: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(ROOT / path)
    return content


def test_every_job_in_configs_is_deployed_once() -> None:
    deployments = read_yaml("prefect.yaml")["deployments"]
    assert sorted(one["parameters"]["job"] for one in deployments) == JOB_FILES


@pytest.mark.parametrize("path", JOB_FILES)
def test_deployment_has_the_name_tags_and_schedule_of_its_job(path: str) -> None:
    job = read_yaml(path)
    [deployment] = [
        one for one in read_yaml("prefect.yaml")["deployments"] if one["parameters"]["job"] == path
    ]
    schedules = [job["schedule"]] if "schedule" in job else []
    assert (deployment["name"], deployment.get("schedules", [])) == (job["name"], schedules)
    assert deployment["tags"] == ["em_impute", job["name"]]
