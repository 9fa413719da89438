"""A job of `method: multiple`: the published table, its ledger, its report, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from postgres_server import PostgresServer

from em_impute import multiply_impute, pool
from em_impute.gaussian import fit_gaussian
from em_impute.job import Job, JobError
from em_impute.reporting import render
from em_impute.runs import report, steps
from em_impute.runs.history import read_report
from em_impute.runs.recompute import verify
from em_impute.runs.run import Found, Refused, Run, stop_if_refused
from em_impute.tables.run_folder import RunFolder, open_run_folder

AIR = ROOT / "data" / "airquality.csv"
NUMBERS = ["Ozone", "Solar.R", "Wind", "Temp"]


def carry_out(folder: Path, name: str = "20260101T000000Z-abcdefgh", **changes: Any) -> Found:
    """Run a job on New York's air by the plain steps, up to its report."""
    definition: dict[str, Any] = {
        "name": "several",
        "source": {"path": str(AIR)},
        "columns": {"key": ["Month", "Day"]},
        "imputation": {"method": "multiple", "draws": 3},
        "target": {"path": str(folder / "out.parquet")},
        "self_test": "off",
    }
    job = Job.model_validate(definition | changes)
    at = open_run_folder(folder / "runs", job.name, name)
    run, found = Run(name, job, at, datetime.now(UTC), date(2026, 1, 1), name), Found()
    table = found.snapshot = steps.load(job, at)
    try:
        found.before = steps.check_input(job, table)
        found.fitted = steps.fit(job, table, at)
        stop_if_refused(found)
        found.staged = steps.fill(job, table, found.fitted, at)
        found.after = steps.check_output(job, table, found.fitted, found.staged)
        stop_if_refused(found)
        found.published = steps.publish(run, found.staged)
    except Refused as refusal:
        found.stopped_by = refusal
    report.report(run, found)
    return found


def test_each_imputation_is_shifted_by_the_sd_of_its_own_model(tmp_path: Path) -> None:
    imputation, tables = {"method": "multiple", "draws": 3}, []
    for folder, delta in (("plain", {}), ("shifted", {"Ozone": -1.0})):
        (tmp_path / folder).mkdir()
        found = carry_out(tmp_path / folder, imputation=imputation | {"delta": delta})
        tables.append(pd.read_parquet(tmp_path / folder / "out.parquet"))
    assert found.fitted is not None
    assert found.fitted.drawn is not None
    models = [models.of_all for models in found.fitted.drawn.models]
    sd = [model.sd[model.columns.index("Ozone")] for model in models if model]
    plain, shifted = tables
    missing = np.tile(pd.read_csv(AIR)["Ozone"].isna(), 3)
    moved = np.where(missing, -np.array(sd)[shifted["imputation"] - 1], 0.0)
    np.testing.assert_allclose(shifted["Ozone"] - plain["Ozone"], moved, rtol=1e-9)
    same = plain.columns.drop("Ozone")
    pd.testing.assert_frame_equal(shifted[same], plain[same], check_exact=True)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    folder = tmp_path_factory.mktemp("three")
    return folder, carry_out(folder)


def test_each_imputation_is_the_whole_table(three: tuple[Path, Found]) -> None:
    read, filled = pd.read_csv(AIR), pd.read_parquet(three[0] / "out.parquet")
    assert list(filled.columns) == [*read.columns, "imputation"]
    assert filled["imputation"].tolist() == [1] * 153 + [2] * 153 + [3] * 153
    ozone = []
    for _, one in filled.groupby("imputation"):
        assert one.notna().all(axis=None)
        for name in read.columns:
            seen = read[name].notna().to_numpy()
            assert (one[name].to_numpy()[seen] == read[name].to_numpy()[seen]).all()
        ozone.append(one["Ozone"].to_numpy()[read["Ozone"].isna()])
    assert len({cells.tobytes() for cells in ozone}) == 3


def test_the_ledger_has_every_cell_of_every_imputation(three: tuple[Path, Found]) -> None:
    folder, found = three
    assert found.staged is not None
    assert (found.staged.rows, found.staged.cells, found.staged.imputations) == (459, 44, 3)
    assert dict(found.staged.imputed) == {"Ozone": 37, "Solar.R": 7}
    ledger = pd.read_parquet(found.staged.ledger)
    assert ledger.groupby("imputation").size().to_dict() == {1: 44, 2: 44, 3: 44}
    filled = pd.read_parquet(folder / "out.parquet")
    for cell in ledger.itertuples():
        row = 153 * (cell.imputation - 1) + cell.row - 1
        assert filled[cell.column].iloc[row] == cell.value


def test_the_report_tells_how_and_how_often(three: tuple[Path, Found]) -> None:
    [folder] = (three[0] / "runs" / "several").iterdir()
    told = RunFolder(folder)
    numbers = read_report(told)
    assert "44 missing cells were filled 3 times" in numbers.verdict.sentence
    assert numbers.imputed_cells == 44
    several = numbers.imputations
    assert several is not None
    assert (several.draws, several.posterior, several.mixed) == (3, "augmentation", True)
    assert len(several.traces) == 4
    assert all(len(chain) == len(t.sweeps) for t in several.traces for chain in t.chains)
    for text in (told.report.read_text(), render.markdown(numbers)):
        assert several.sentence in text
        assert "R-hat at most" in text
    assert "Rubin’s rules" in told.report.read_text()


@pytest.mark.parametrize(
    ("posterior", "words"),
    [
        ("augmentation", "from the posterior of mean and covariance"),
        ("bootstrap", "fitted to rows drawn with replacement"),
        ("ml", "by the rules for draws at one estimate"),
    ],
)
def test_the_page_tells_where_the_models_come_from(
    three: tuple[Path, Found], posterior: str, words: str
) -> None:
    [folder] = (three[0] / "runs" / "several").iterdir()
    numbers = read_report(RunFolder(folder))
    assert numbers.imputations is not None
    several = replace(numbers.imputations, posterior=posterior)
    page = render.html(replace(numbers, imputations=several))
    every = [
        "from the posterior of mean and covariance",
        "fitted to rows drawn with replacement",
        "by the rules for draws at one estimate",
    ]
    assert [one for one in every if one in page] == [words]


def test_the_run_is_computed_again_bit_by_bit(three: tuple[Path, Found]) -> None:
    [folder] = (three[0] / "runs" / "several").iterdir()
    assert verify(folder).agreement == "equal"


def test_a_job_and_python_draw_the_same_tables(tmp_path: Path) -> None:
    """Without bounds, transforms and categories; rows without a key are known by their numbers."""
    frame = pd.read_csv(AIR)[NUMBERS].astype(float)
    frame.to_parquet(tmp_path / "in.parquet")
    found = carry_out(
        tmp_path,
        source={"path": str(tmp_path / "in.parquet")},
        columns={},
        imputation={"method": "multiple", "draws": 4, "seed": 7},
    )
    assert found.published
    filled = pd.read_parquet(tmp_path / "out.parquet")
    tables = multiply_impute(frame, 4, result=fit_gaussian(frame), seed=7)
    for number, table in enumerate(tables, start=1):
        one = filled[filled["imputation"] == number]
        np.testing.assert_allclose(one[NUMBERS].to_numpy(), table.to_numpy(), rtol=1e-12)


def test_a_published_table_is_pooled(tmp_path: Path) -> None:
    """Close to the estimate and the error of the observed information, as 40 draws can be."""
    found = carry_out(tmp_path, imputation={"method": "multiple", "draws": 40})
    assert found.fitted is not None
    assert found.fitted.result is not None
    known = found.fitted.result.estimates().set_index("parameter").loc["mean of Ozone"]
    tables = [t for _, t in pd.read_parquet(tmp_path / "out.parquet").groupby("imputation")]
    pooled = pool(lambda t: (t["Ozone"].mean(), t["Ozone"].var() / len(t)), tables)
    assert pooled.estimate[0] == pytest.approx(known.estimate, abs=0.3 * known.std_error)
    assert pooled.std_error[0] == pytest.approx(known.std_error, rel=0.2)


def test_a_folder_by_imputation_and_a_mask(tmp_path: Path) -> None:
    found = carry_out(
        tmp_path,
        imputation={"method": "multiple", "draws": 2, "posterior": "ml", "mask": True},
        target={"path": str(tmp_path / "out"), "format": "csv", "partition_by": ["imputation"]},
    )
    assert found.published
    parts = sorted(path.parent.name for path in (tmp_path / "out/current/").glob("*/*.csv"))
    assert parts == ["imputation=1", "imputation=2"]
    one = pd.read_csv(tmp_path / "out/current/imputation=1/part-0.csv")
    assert (one["em_impute_mask"].to_numpy() & 1).sum() == 37
    assert found.fitted is not None
    assert found.fitted.drawn is not None
    assert found.fitted.drawn.mixing is None


def test_models_of_resampled_rows(tmp_path: Path) -> None:
    """Each imputation has a model of its own; together they vary as the estimate's error."""
    options = {"method": "multiple", "draws": 40, "posterior": "bootstrap"}
    found = carry_out(tmp_path, imputation=options)
    assert found.published
    assert found.fitted is not None
    assert found.fitted.result is not None
    assert found.fitted.drawn is not None
    known = found.fitted.result.estimates().set_index("parameter").loc["mean of Ozone"]
    models = [models.of_all for models in found.fitted.drawn.models]
    means = [model.mean[model.columns.index("Ozone")] for model in models if model]
    assert len(set(means)) == 40
    assert np.std(means, ddof=1) == pytest.approx(known.std_error, rel=0.4)
    assert np.mean(means) == pytest.approx(known.estimate, abs=0.6 * known.std_error)
    filled = pd.read_parquet(tmp_path / "out.parquet")
    assert filled.groupby("imputation").size().tolist() == [153] * 40


def test_resampled_rows_that_show_nothing_of_a_column_end_in_a_sentence(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "y": np.full(40, np.nan)})
    frame.loc[[3, 9], "y"] = [1.0, 2.5]
    frame.to_parquet(tmp_path / "in.parquet")
    found = carry_out(
        tmp_path,
        source={"path": str(tmp_path / "in.parquet")},
        columns={"impute": ["y"]},
        imputation={"method": "multiple", "draws": 30, "posterior": "bootstrap"},
    )
    assert not found.published
    assert found.fitted is not None
    assert "Several imputations cannot be drawn. No cell is observed in" in found.fitted.refusal


def test_groups_have_posteriors_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"site": np.repeat(["a", "b"], 200), "x": rng.normal(size=400)})
    frame["y"] = np.where(frame["site"] == "a", 5.0, -5.0) + rng.normal(size=400)
    frame.loc[rng.random(400) < 0.2, "y"] = np.nan
    frame.to_parquet(tmp_path / "in.parquet")
    found = carry_out(
        tmp_path,
        source={"path": str(tmp_path / "in.parquet")},
        columns={"group_by": ["site"]},
    )
    assert found.published
    filled, missing = pd.read_parquet(tmp_path / "out.parquet"), np.tile(frame["y"].isna(), 3)
    means = filled[missing].groupby(["site", "imputation"])["y"].mean()
    assert (means["a"].sub(5).abs() < 1).all()
    assert (means["b"].add(5).abs() < 1).all()


def test_bounds_and_categories_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"x": rng.normal(size=300)})
    frame["size"] = np.where(frame["x"] + rng.normal(size=300) > 0, "large", "small")
    frame["age"] = np.round(np.clip(30 + 20 * frame["x"], 0, 99))
    for name in ("size", "age"):
        frame.loc[rng.random(300) < 0.2, name] = None
    frame.to_parquet(tmp_path / "in.parquet")
    found = carry_out(
        tmp_path,
        source={"path": str(tmp_path / "in.parquet")},
        columns={"categories": {"size": "nominal"}, "bounds": {"age": [0, 99]}},
    )
    assert found.published, found.stopped_by
    filled = pd.read_parquet(tmp_path / "out.parquet")
    assert set(filled["size"]) == {"large", "small"}
    assert filled["age"].between(0, 99).all()


def test_a_table_without_holes_is_repeated(tmp_path: Path) -> None:
    pd.read_csv(AIR).dropna().to_csv(tmp_path / "in.csv", index=False)
    found = carry_out(
        tmp_path,
        source={"path": str(tmp_path / "in.csv")},
        imputation={"method": "multiple", "draws": "auto"},
    )
    assert found.published
    filled = pd.read_parquet(tmp_path / "out.parquet")
    assert filled.groupby("imputation").size().tolist() == [111, 111]


def test_a_database_updates_the_rows_of_each_imputation(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """Twice: the second run finds its rows by the job's key and the number of the imputation."""
    target = {"url": postgres.url, "table": "several", "mode": "upsert"}
    for name in ("20260101T000000Z-abcdefgh", "20260102T000000Z-abcdefgh"):
        found = carry_out(tmp_path, name, target=target)
        assert found.published
        counts = postgres.run(
            'SELECT imputation, count(*), count("Ozone") FROM several GROUP BY 1 ORDER BY 1'
        )
        assert counts == [(k, 153, 153) for k in (1, 2, 3)]


def test_a_database_that_rounds_what_was_filled_is_not_refused(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """Filled cells of every imputation are known by their rows; observed ones would be refused."""
    postgres.run(
        'CREATE TABLE whole ("Ozone" numeric(8, 2), "Solar.R" numeric(8, 2), "Wind" float8, '
        '"Temp" int, "Month" int, "Day" int, imputation int)'
    )
    found = carry_out(tmp_path, target={"url": postgres.url, "table": "whole"})
    assert found.published
    assert not found.published.narrowed
    assert postgres.run('SELECT count(*) FROM whole WHERE "Ozone" IS NULL') == [(0,)]


def test_a_fit_that_did_not_end_is_no_place_to_draw_from(tmp_path: Path) -> None:
    found = carry_out(tmp_path, model={"max_iter": 1})
    assert found.published is None
    assert str(found.stopped_by).startswith("Several imputations are drawn about a maximum.")
    assert not (tmp_path / "out.parquet").exists()


def test_chains_that_have_not_mixed_are_a_warning(tmp_path: Path) -> None:
    found = carry_out(tmp_path, imputation={"method": "multiple", "draws": 2, "max_sweeps": 8})
    assert found.published
    assert found.warnings[0].startswith("The chains have not mixed: 4 chains of 8 sweeps")
    assert "the slowest is the " in found.warnings[0]


def test_a_column_of_that_name_is_an_error(tmp_path: Path) -> None:
    pd.read_csv(AIR).assign(imputation=1).to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(JobError, match="has a column 'imputation' already; rename it"):
        carry_out(tmp_path, source={"path": str(tmp_path / "in.csv")})
