"""The columns and their cells, against pandas on the run's own input and output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from measured_runs import NUMBERS, Ran, rendered, table

from em_impute.reporting import render


def test_moments_before_and_after_are_those_of_pandas(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (_, _, report), frame, filled = mixed
    for column in report.columns:
        before, missing = frame[column.name], frame[column.name].isna()
        assert column.missing == missing.sum() == column.imputed.count
        assert column.missing_share == pytest.approx(missing.mean())
        assert column.observed.count == before.count()
        if column.name == "grade":
            assert (column.observed.mean, column.imputed.mean) == (None, None)
            continue
        assert column.observed.mean == pytest.approx(before.mean())
        assert column.observed.sd == pytest.approx(before.std(ddof=0))
        after = filled.loc[missing, column.name]
        if len(after):
            assert column.imputed.mean == pytest.approx(after.mean())
            assert column.imputed.sd == pytest.approx(after.std(ddof=0))
    transforms = {column.name: column.transform for column in report.columns}
    assert transforms["amount"] == "log"
    assert transforms["share"] == "logit"
    assert transforms["plain"] == ""


def test_imputed_cells_are_those_of_the_ledger(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (run, _, report), frame, filled = mixed
    ledger = pd.read_parquet(run.folder.cells)
    assert {cells.column for cells in report.imputed} == set(NUMBERS)
    for cells in report.imputed:
        name = cells.column
        mine = ledger[ledger["column"] == name]
        sd = next(c.em.sd for c in report.columns if c.name == name)
        assert cells.count == len(mine)
        assert cells.sd_mean == pytest.approx((mine["sd"] / sd).mean())
        assert cells.sd_median == pytest.approx((mine["sd"] / sd).median())
        after = filled.loc[frame[name].isna(), name]
        beyond = (after < frame[name].min()) | (after > frame[name].max())
        assert cells.beyond == beyond.sum()
        assert cells.share_beyond == pytest.approx(beyond.mean())
        if name == "whole":
            assert cells.at_bound == after.isin([12, 14]).sum() > 0
        else:
            assert cells.at_bound == (0 if name == "amount" else None)


def test_levels_are_counted_as_pandas_counts_them(
    mixed: tuple[Ran, pd.DataFrame, pd.DataFrame],
) -> None:
    (_, _, report), frame, filled = mixed
    [levels] = report.levels
    assert (levels.column, levels.levels) == ("grade", ("low", "mid", "high"))
    before, after = frame["grade"].value_counts(), filled["grade"].value_counts()
    assert levels.observed == tuple(before[list(levels.levels)])
    assert levels.imputed == tuple((after - before)[list(levels.levels)])


def test_histograms_count_every_cell(mixed: tuple[Ran, pd.DataFrame, pd.DataFrame]) -> None:
    (_, _, report), frame, filled = mixed
    assert {item.column for item in report.distributions} == set(NUMBERS)
    for item in report.distributions:
        missing = frame[item.column].isna()
        for counts, cells in (
            (item.observed, frame.loc[~missing, item.column]),
            (item.imputed, filled.loc[missing, item.column]),
        ):
            assert list(counts) == np.histogram(cells, item.edges)[0].tolist()


def in_groups(rows: int = 900) -> pd.DataFrame:
    """Amounts that are of another size in each group, one of them too small for a model."""
    frame = table(rows)[["amount", "plain", "share", "steady"]]
    frame["site"] = np.where(np.arange(rows) < 30, "few", np.where(np.arange(rows) % 3, "a", "b"))
    frame.loc[frame["site"] == "b", "amount"] *= 6
    frame.loc[frame["site"] == "b", "plain"] += 40
    return frame


def test_estimates_of_columns_are_those_of_the_models_that_fill_them(
    ran: Callable[..., Ran],
) -> None:
    """By simulation: each group's rows from its model, the others from that of all rows."""
    frame = in_groups()
    transform = {"amount": "log", "share": {"logit": [0, 100]}}
    _, found, report = ran(frame, columns={"group_by": ["site"], "transform": transform})
    assert found.fitted is not None
    assert found.fitted.result is not None
    assert set(found.fitted.groups) == {"a", "b"}
    rng, parts = np.random.default_rng(0), []
    for site, rows in frame["site"].value_counts().items():
        model = found.fitted.groups.get(str(site), found.fitted.result.model)
        drawn = rng.multivariate_normal(model.mean, model.covariance, 500_000)
        parts.append(pd.DataFrame(drawn, columns=list(model.columns)).assign(weight=rows))
    cells = pd.concat(parts)
    cells["amount"] = np.exp(cells["amount"])
    cells["share"] = 100 / (1 + np.exp(-cells["share"]))
    columns = {column.name: column for column in report.columns}
    for name in ("plain", "steady", "share", "amount"):
        em, tolerance = columns[name].em, 0.03 if name == "amount" else 0.01
        mean = np.average(cells[name], weights=cells["weight"])
        sd = np.sqrt(np.average((cells[name] - mean) ** 2, weights=cells["weight"]))
        assert em.count == len(frame)
        assert em.mean == pytest.approx(mean, rel=tolerance, abs=0.01)
        assert em.sd == pytest.approx(sd, rel=tolerance)
    # The model of all rows, which takes the groups' distance for spread, says something else.
    alone = found.fitted.result.model
    at = alone.columns.index("amount")
    by_all = np.exp(alone.mean[at] + alone.covariance[at, at] / 2)
    assert columns["amount"].em.mean != pytest.approx(by_all, rel=0.05)
    assert "estimated by the models of the groups" in render.html(report)
    rendered(report)


def test_a_root_has_an_estimate_on_the_column_s_own_scale(ran: Callable[..., Ran]) -> None:
    _, _, report = ran(table()[["amount", "steady"]], columns={"transform": {"amount": "sqrt"}})
    amount = next(column for column in report.columns if column.name == "amount")
    assert amount.em.mean == pytest.approx(amount.observed.mean, rel=0.2)
    assert amount.em.sd == pytest.approx(amount.observed.sd, rel=0.5)
