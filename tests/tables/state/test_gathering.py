"""A folder of files with a state: the whole folder's table, and only what is new is summed up."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from daily import COLUMNS, Nights, assert_same_estimate, day, full_fit, gathered
from holed_tables import factor_table

from em_impute.job import CannotRun
from em_impute.tables.state.delivered import day_of


class Folder(Nights):
    """A job whose source is a folder of CSV files, all of which are its table each night."""

    def __init__(self, folder: Path, state: dict[str, Any] | None = None, **job: Any) -> None:
        source = {"path": str(folder / "in"), "format": "csv"}
        super().__init__(folder, state, source=source, batch_rows=37, **job)
        (folder / "in").mkdir()

    def put(self, name: str, seed: int, rows: int = 80) -> np.ndarray:
        X = factor_table(rows, len(COLUMNS), 0.2, seed=seed)
        pd.DataFrame(X, columns=COLUMNS).to_csv(self.folder / "in" / name, index=False)
        return X


def test_only_new_and_changed_files_are_summed_up(tmp_path: Path) -> None:
    """The answer is that of the whole folder, whatever was added, changed or taken away."""
    folder = Folder(tmp_path)
    tables = {number: folder.put(f"{number}.csv", number) for number in range(4)}
    tables[9] = folder.put("2099-12-31.csv", 9)  # after the data date, which says nothing here
    found = folder.run(0)
    assert gathered(found).rows_read == 400
    assert_same_estimate(found, full_fit(tables))
    published = pd.read_parquet(Path(str(folder.last.job.target.path)))
    assert len(published) == 400

    tables[4], tables[1] = folder.put("4.csv", 4, rows=50), folder.put("1.csv", 41)
    (tmp_path / "in" / "3.csv").unlink()
    del tables[3]
    found = folder.run(1)
    assert_same_estimate(found, full_fit(tables))
    held = gathered(found)
    assert held.rows_read == 130
    assert held.dropped == ("3.csv",)
    assert held.sentences[0].startswith("1.csv was delivered again with other content")
    assert held.table.n_rows == held.summary.n_rows == 370
    assert gathered(folder.run(1)).rows_read == 0


def test_files_count_by_the_dates_in_their_names(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"half_life": "30 days", "window": "70 days"})
    names = ["2025-12-01.csv", "2026-01.csv", "2026-02-01.csv", "2026-03-02.csv", "2026-04-01.csv"]
    tables = {k: folder.put(name, k) for k, name in enumerate(names)}
    found = folder.run(1)
    ages = {
        k: (day(1) - date.fromisoformat(d)).days
        for k, d in enumerate(
            ["2025-12-01", "2026-01-01", "2026-02-01", "2026-03-02", "2026-04-01"]
        )
    }
    shown = {k: X for k, X in tables.items() if 0 <= ages[k] < 70}
    assert sorted(shown) == [1, 2, 3]
    assert_same_estimate(found, full_fit(shown, {k: 0.5 ** (ages[k] / 30) for k in shown}))
    held = gathered(found)
    assert held.table.n_rows == 400
    assert [round(w, 3) for _, w in held.parts] == [0.0, 0.25, 0.512, 1.0, 0.0]
    again = held.with_rows([np.concatenate(list(tables.values()))])
    np.testing.assert_allclose(again.observed_mean, held.summary.observed_mean)


def test_files_without_a_date_have_no_age(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"window": "70 days"})
    folder.put("north.csv", 1)
    with pytest.raises(CannotRun, match=r"state\.window: the name of north\.csv tells no date"):
        folder.run(0)


def test_a_window_that_shows_no_file_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"window": "70 days"})
    folder.put("2024-01-01.csv", 1)
    with pytest.raises(CannotRun, match="No file of the source is of the 70 days up to 2026-03-01"):
        folder.run(0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2024-01-31.csv", date(2024, 1, 31)),
        ("sales_20240131_v2.csv", date(2024, 1, 31)),
        ("2024/02/part-0.parquet", date(2024, 2, 1)),
        ("year=2024/month=2/day=9/part-0.parquet", date(2024, 2, 9)),
        ("year=2024/month=02/p.parquet", date(2024, 2, 1)),
        ("2023/2024-05.csv", date(2024, 5, 1)),
        ("date=2024-03-04/1.parquet", date(2024, 3, 4)),
        ("2024-13-01.csv", None),
        ("123456789.csv", None),
        ("north.csv", None),
    ],
)
def test_the_day_that_a_name_tells(name: str, expected: date | None) -> None:
    assert day_of(name) == expected
