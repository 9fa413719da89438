"""Run the benchmarks and print their tables: ``python -m benchmarks.run --help``."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from math import inf
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks import diagnosis, layouts, scaling
from benchmarks.cases import CASES, STRESS, Case, Floats, at_random
from benchmarks.judge import Worth, judge, rmse_of_filled
from benchmarks.peers import (
    R_TOOLS,
    TOOLS,
    Run,
    measure,
    missing_reason,
    read_estimate,
    thread_settings,
    write_arrays,
)

PARTS = ("tools", "methods", "diagnosis", "rows", "distinct", "e-step", "layouts")
# A tool is run again on a case while its runs together took less than this.
PATIENCE_SECONDS = 60.0
# What a quick trial is content with.
QUICK_CASES = ("10k-10", "2k-15", "missing-60")
QUICK_ROWS = (100_000, 1_000_000)
TOOLS_HEAD = [
    "case",
    "tool",
    "seconds",
    "x em_impute",
    "x EMImputer",
    "x np.cov",
    "goal",
    "log-likelihood",
    "less em_impute's",
    "RMSE/sd",
    "runs",
    "BLAS threads",
    "note",
]


def main() -> None:
    """Print the conditions, then each table as its lines become known."""
    options = parse()
    print("\n".join(conditions()), flush=True)
    cases = chosen(options.cases, options.quick)
    if "tools" in options.parts:
        compared = (compare(case, options) for case in cases)
        show("Tools", TOOLS_HEAD, chain.from_iterable(compared))
    if "methods" in options.parts:
        compared = (scaling.by_method(case) for case in cases if case in STRESS)
        title = "Acceleration methods on the stress set"
        show(title, scaling.BY_METHOD_HEAD, chain.from_iterable(compared))
    if "diagnosis" in options.parts:
        looked_at = (diagnosis.by_case(case) for case in cases if case in CASES)
        show("What a fit spends after its loop", diagnosis.HEAD, chain.from_iterable(looked_at))
    if "rows" in options.parts:
        sizes = QUICK_ROWS if options.quick else scaling.ROWS
        show("More rows, the same patterns", scaling.BY_ROWS_HEAD, scaling.by_rows(sizes))
    if "distinct" in options.parts:
        lines = scaling.all_distinct(20_000 if options.quick else 200_000, 50, 0.2)
        show("Nearly all patterns distinct", scaling.ALL_DISTINCT_HEAD, lines)
    if "e-step" in options.parts:
        wide = Case("wide", "200,000 x 50, 20%", 200_000, 50, at_random(0.2))
        goals = [(wide, 3)] + [(case, 4) for case in CASES if case.key == "2k-200"]
        beside = (scaling.in_products(case, goal) for case, goal in goals)
        title = "An E-step beside its matrix products"
        show(title, scaling.IN_PRODUCTS_HEAD, chain.from_iterable(beside))
    if "layouts" in options.parts:
        n = 100_000 if options.quick else 1_000_000
        show(f"Layouts in memory, {n:,} x 10", layouts.HEAD, layouts.by_layout(n, 10))


def parse() -> argparse.Namespace:
    """The command line."""
    keys = [case.key for case in (*CASES, *STRESS)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--cases", type=names(keys), help=f"some of {','.join(keys)}")
    parser.add_argument("--tools", type=names(TOOLS), default=TOOLS, help=f"of {','.join(TOOLS)}")
    parser.add_argument("--parts", type=names(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="alternating runs (3)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a run (120)")
    parser.add_argument("--quick", action="store_true", help="a small trial of everything")
    return parser.parse_args()


def names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """A type of option: some of the known names, with commas between."""

    def split(text: str) -> tuple[str, ...]:
        given = tuple(name for name in text.replace(",", " ").split())
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)}; there are {', '.join(known)}"
            )
        return given

    return split


def chosen(keys: Sequence[str] | None, quick: bool) -> list[Case]:
    """The cases that were asked for."""
    keys = keys or (QUICK_CASES if quick else None)
    return [case for case in (*CASES, *STRESS) if keys is None or case.key in keys]


def compare(case: Case, options: argparse.Namespace) -> Iterator[list[object]]:
    """Lines of a table: every tool on one case, by turns."""
    complete, holes = case.make()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(folder, complete, holes)
        runs = alternate(options.tools, folder, options.rounds, options.limit)
        seconds = {tool: _median_seconds(made) for tool, made in runs.items()}
        worths = {
            tool: worth(tool, folder, complete, holes)
            for tool in options.tools
            if seconds[tool] is not None and tool != "np.cov"
        }
    for tool in options.tools:
        yield line(case, tool, runs[tool], seconds, worths)


def alternate(
    tools: Sequence[str], folder: Path, rounds: int, limit: float
) -> dict[str, list[Run]]:
    """Run the tools by turns; those that are missing, failed or are very slow only once."""
    runs = {tool: [first_run(tool, folder, limit)] for tool in tools}
    for _ in range(rounds - 1):
        for tool, made in runs.items():
            if made[-1].seconds is not None and _spent(made) < PATIENCE_SECONDS:
                made.append(measure(tool, folder, limit, made[0].threads))
    return runs


def first_run(tool: str, folder: Path, limit: float) -> Run:
    """The fastest of a tool's settings, which it then keeps."""
    reason = missing_reason(tool)
    if reason is not None:
        return Run(None, reason)
    tried = [measure(tool, folder, limit, threads) for threads in thread_settings(tool)]
    return min(tried, key=lambda run: inf if run.seconds is None else run.seconds)


def worth(tool: str, folder: Path, complete: Floats, holes: Floats) -> Worth:
    """Judge what a tool left behind; the error of its own filling where it fills itself."""
    judged = judge(*read_estimate(folder, tool, holes.shape[1]), holes, complete)
    own = folder / f"{tool}.filled.f64"
    if not own.exists():
        return judged
    filled = rmse_of_filled(read_filled(own, holes), holes, complete)
    return Worth(judged.loglik, filled)


def read_filled(path: Path, holes: Floats) -> Floats:
    """A table that a tool filled itself."""
    return np.fromfile(path).reshape(holes.shape)


def line(
    case: Case,
    tool: str,
    runs: Sequence[Run],
    seconds: dict[str, float | None],
    worths: dict[str, Worth],
) -> list[object]:
    """One line of the table of tools."""
    ours, found = worths.get("em_impute"), worths.get(tool)
    return [
        case.title,
        tool,
        _number(seconds[tool], ".4g"),
        _number(_ratio(seconds[tool], seconds.get("em_impute")), ".3g"),
        _number(_ratio(seconds[tool], seconds.get("EMImputer")), ".3g"),
        _number(_ratio(seconds[tool], seconds.get("np.cov")), ".3g"),
        _number(case.price_goal if tool == "em_impute" else None, "g"),
        _number(found.loglik if found else None, ".6f"),
        _number(found.loglik - ours.loglik if found and ours else None, "+.2g"),
        _number(found.rmse if found else None, ".4f"),
        sum(run.seconds is not None for run in runs),
        runs[0].threads or "default",
        runs[-1].note,
    ]


def show(title: str, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown, each line as soon as it is known."""
    print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for cells in lines:
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def conditions() -> Iterator[str]:
    """What the figures depend on."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_processor()}, {cores} cores, load {load:.2f}"
    yield (
        f"em_impute {version('em-impute')} ({_commit()}), Python {platform.python_version()}, "
        + (", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn")))
    )
    for blas in threadpool_info():
        if blas["user_api"] == "blas":
            yield f"BLAS {blas['internal_api']} {blas['version']}, {blas['num_threads']} threads"
    for tool in R_TOOLS:
        release = f"cat(format(packageVersion('{tool}')))"
        yield f"{tool}: {missing_reason(tool) or _r(release)}"
    if any(missing_reason(tool) is None for tool in R_TOOLS):
        yield _r("cat(R.version.string, 'with BLAS', sessionInfo()$BLAS)")


def _processor() -> str:
    for entry in Path("/proc/cpuinfo").read_text().splitlines():
        if entry.startswith("model name"):
            return entry.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    if shutil.which("git") is None:
        return "no git"
    described = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(described, capture_output=True, text=True).stdout.strip() or "no git"


def _r(expression: str) -> str:
    return subprocess.run(["Rscript", "-e", expression], capture_output=True, text=True).stdout


def _spent(runs: Sequence[Run]) -> float:
    return sum(run.seconds or 0.0 for run in runs)


def _median_seconds(runs: Sequence[Run]) -> float | None:
    known = [run.seconds for run in runs if run.seconds is not None]
    return median(known) if known else None


def _ratio(seconds: float | None, unit: float | None) -> float | None:
    return seconds / unit if seconds is not None and unit else None


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
