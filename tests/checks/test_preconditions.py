"""What a table needs so that there is something to estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from em_impute.checks import Checked, check_preconditions


@dataclass(frozen=True)
class Profile:
    name: str
    missing: int = 0
    infinite: int = 0
    first_infinite_row: int | None = None
    constant: bool = False


def failures(
    rows: int, *profiles: Profile, model: Sequence[str] = ("a", "b")
) -> list[tuple[str, str | None, str, str]]:
    found = check_preconditions(rows, profiles, model)
    assert {one.source for one in found} == {"precondition"}
    return [(r.name, r.column, r.severity, r.observed) for r in found if not r.success]


def test_ordinary_table_meets_all_preconditions() -> None:
    found = check_preconditions(10, [Profile("a", missing=9), Profile("b")], ["a", "b"])
    assert all(one.success for one in found)
    assert len(found) == 5


def test_empty_table_is_one_failure() -> None:
    found = failures(0, Profile("a"), Profile("b"))
    assert found == [("table_not_empty", None, "critical", "0 rows")]


def test_infinities_are_counted_and_the_first_is_located() -> None:
    [found] = failures(9, Profile("a", infinite=3, first_infinite_row=7), Profile("b"))
    assert found[:3] == ("no_infinities", "a", "critical")
    assert found[3].startswith("3 infinite cells, the first in row 7;")


def test_column_without_an_observed_cell_is_refused() -> None:
    [found] = failures(9, Profile("a", missing=9), Profile("b", missing=8))
    assert found[:3] == ("observed_cells", "a", "critical")


def test_constant_column_is_pointed_out() -> None:
    [found] = failures(9, Profile("a"), Profile("b", constant=True))
    assert found[:3] == ("not_constant", "b", "info")
    assert "filled with that value" in found[3]


@pytest.mark.parametrize(("rows", "pointed_out"), [(1, True), (2, True), (3, False)])
def test_too_few_rows_for_a_covariance_are_pointed_out(rows: int, pointed_out: bool) -> None:
    expected = ("more_rows_than_columns", None, "info", f"{rows} rows, 2 columns")
    assert failures(rows, Profile("a"), Profile("b")) == ([expected] if pointed_out else [])


def test_columns_outside_the_model_do_not_matter() -> None:
    odd = Profile("key", missing=9, infinite=2, first_infinite_row=1, constant=True)
    assert failures(9, Profile("a"), Profile("b"), odd) == []


def test_preconditions_name_their_column_in_the_refusal() -> None:
    checked = Checked(check_preconditions(9, [Profile("Ozone", missing=9)], ["Ozone"]))
    assert checked.refusal is not None
    assert "Ozone observed in some row (all cells missing" in checked.refusal
