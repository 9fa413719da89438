"""What a table's size costs: its patterns, the bytes of its summary, and each engine.

    python -m benchmarks.scale patterns            how many patterns of missing cells there are
    python -m benchmarks.scale engines [ROWS]      the same job here, by Dask, 2 and 4 workers, and
                                                   by SQL in DuckDB
    python -m benchmarks.scale far [ROWS]          here and by Dask, a table that does not condense
    python -m benchmarks.scale constants           what the cost model of docs/scale.md is made of

`make bench-scale` runs all but `far`, the second with 10,000,000 x 20.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.run import conditions, show
from em_impute import PatternSummary
from em_impute.gaussian.arrays import Bools, Floats
from em_impute.gaussian.distinct import distinct_patterns
from em_impute.gaussian.e_step import WeightedRows, e_step
from em_impute.gaussian.parameters import Standardisation

ROWS = (10_000, 100_000, 1_000_000)
COLUMNS = (10, 20, 50)
SHARES = (0.05, 0.1, 0.2)
# Clustered holes: blocks of five columns of a source that is there or not.
BLOCK = 5
ENGINES = ("local", "2 workers", "4 workers", "sql")
ENGINE_COLUMNS, ENGINE_SHARE, BATCH = 20, 0.1, 500_000
# Nearly every row has a pattern of its own.
FAR_COLUMNS, FAR_SHARE = 50, 0.2


def holes(n: int, p: int, share: float, clustered: bool, seed: int = 1) -> Bools:
    """Which cells are missing, independently or in blocks of columns."""
    random = np.random.default_rng(seed)
    if not clustered:
        return np.asarray(random.random((n, p), dtype=np.float32) < share)
    return np.repeat(random.random((n, p // BLOCK), dtype=np.float32) < share, BLOCK, axis=1)


def patterns() -> Iterator[list[object]]:
    """Distinct patterns, and the weighted rows that stand for all rows, as the rows grow."""
    for p in COLUMNS:
        for share in SHARES:
            for clustered in (False, True):
                line: list[object] = [
                    p,
                    f"{share:.0%}",
                    "blocks of 5" if clustered else "each cell",
                ]
                for n in ROWS:
                    missing = holes(n, p, share, clustered)
                    shown, which = distinct_patterns(~missing)
                    counts = np.bincount(which)
                    kept = np.minimum(counts, shown.sum(axis=1) + 1).sum()
                    line += [f"{len(shown):,}", f"{kept / n:.3f}"]
                yield line


PATTERNS_HEAD = [
    "columns",
    "missing",
    "by",
    *[text for n in ROWS for text in (f"patterns of {n:,}", "rows kept")],
]


def table(n: int, p: int, share: float, seed: int = 1) -> Floats:
    """Rows of three factors, some cells missing; the loadings are the same for any seed."""
    random, loadings = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(3, p))
    X = random.normal(size=(n, 3)) @ loadings + random.normal(size=(n, p))
    X[holes(n, p, share, clustered=False, seed=seed)] = np.nan
    return np.asarray(X)


def constants() -> Iterator[list[object]]:
    """Seconds of CPU for each cell that is summed up, and for each row of an E-step."""
    for n, p in ((1_000_000, 10), (1_000_000, 20), (100_000, 50)):
        X = table(n, p, 0.05)
        begin = time.process_time()
        summary = PatternSummary.from_array(X)
        summed = time.process_time() - begin
        scaling = Standardisation.of(summary)
        rows = WeightedRows.of(summary, scaling.varying, scaling.centre, scaling.scale)
        at = np.zeros(p), np.eye(p)
        e_step(rows, *at)
        times = []
        for _ in range(5):
            begin = time.process_time()
            e_step(rows, *at)
            times.append(time.process_time() - begin)
        weighted = sum(len(part.rows) for part in rows.parts)
        yield [
            f"{n:,} x {p}",
            f"{1e9 * summed / X.size:.0f}",
            f"{len(summary.counts):,}",
            f"{weighted:,}",
            f"{1e9 * min(times) / (weighted * p):.1f}",
            f"{len(summary.to_bytes()) / 1e6:.1f}",
        ]


CONSTANTS_HEAD = [
    "table",
    "summary, ns a cell",
    "patterns",
    "weighted rows",
    "E-step, ns a cell of these",
    "summary, MB",
]


def engines(
    rows: int,
    names: Sequence[str] = ENGINES,
    columns: int = ENGINE_COLUMNS,
    share: float = ENGINE_SHARE,
) -> Iterator[list[object]]:
    """Fit and fill of one Parquet file, in DuckDB its rows, each engine in its own process."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "table.parquet")
        write(source, rows, columns, share)
        for engine in names:
            command = [sys.executable, "-m", "benchmarks.one_engine", engine, str(source), name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                yield [engine, f"{rows:,}", done.stderr.splitlines()[-1], *[""] * 6]
                continue
            fit, fill, *memory, answer = done.stdout.splitlines()[-1].split()
            yield [
                engine,
                f"{rows:,}",
                f"{float(fit):.1f}",
                f"{float(fill):.1f}",
                f"{rows / (float(fit) + float(fill)):,.0f}",
                *memory,
                answer,
            ]


ENGINES_HEAD = [
    "engine",
    "rows",
    "fit, s",
    "fill, s",
    "rows a second",
    "peak of the run after the fit, MB",
    "peak of the run, MB",
    "peak of a worker, MB",
    "digest of model and table",
]


def far(rows: int) -> Iterator[list[object]]:
    """The same of tables that do not condense, of which two have so many rows at most."""
    for n in (rows // 2, rows):
        yield from engines(n, ("local", "2 workers"), FAR_COLUMNS, FAR_SHARE)


def write(path: Path, rows: int, columns: int, share: float) -> None:
    """Write the table in batches."""
    names = [f"x{j}" for j in range(columns)]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in names])) as writer:
        for k, first in enumerate(range(0, rows, BATCH)):
            X = table(min(BATCH, rows - first), columns, share, seed=k)
            writer.write_table(pa.table(dict(zip(names, X.T, strict=True))))


def main(part: str, *options: str) -> None:
    """Print one part."""
    if part == "patterns":
        show("Patterns of missing cells, and weighted rows for each row", PATTERNS_HEAD, patterns())
    elif part == "constants":
        show("Constants of the cost model", CONSTANTS_HEAD, constants())
    else:
        rows = int(options[0].replace(",", "")) if options else 1_000_000
        made, p = (engines, ENGINE_COLUMNS) if part == "engines" else (far, FAR_COLUMNS)
        show(f"Fit and fill of {rows:,} x {p}", ENGINES_HEAD, made(rows))


if __name__ == "__main__":
    print("\n".join(conditions()), flush=True)
    main(*sys.argv[1:])
