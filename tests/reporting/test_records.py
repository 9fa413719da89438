"""A report as JSON keeps it: the same when it is read again, and no number that JSON lacks."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from em_impute.reporting.records import Report
from em_impute.tables.digest import Moments


def test_table_counts_are_those_of_pandas(report: Report, airquality: pd.DataFrame) -> None:
    assert (report.rows, len(report.columns)) == airquality.shape
    assert report.cells == airquality.size
    assert report.missing_cells == report.imputed_cells == airquality.isna().sum().sum() == 44


def test_report_survives_strict_json(report: Report) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)) == report


def test_report_refused_before_the_fit_survives_strict_json(report: Report) -> None:
    partial = dataclasses.replace(report, fit=None, patterns=None, distributions=(), columns=())
    assert Report.from_dict(json.loads(json.dumps(partial.to_dict()))) == partial


def test_nan_and_infinity_become_null(report: Report) -> None:
    odd = dataclasses.replace(report.columns[0], em=Moments(1, np.nan, np.inf))
    text = json.dumps(dataclasses.replace(report, columns=(odd,)).to_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)).columns[0].em == Moments(1, None, None)


def test_report_of_the_wrong_shape_is_refused_by_field(report: Report) -> None:
    values = report.to_dict() | {"rows": "many"}
    with pytest.raises(ValidationError, match="rows"):
        Report.from_dict(values)
