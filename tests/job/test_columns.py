"""The part of each column, and what its options may be."""

from __future__ import annotations

import pytest
from job_files import MINIMAL, complaints

TRANSFORM_EXPECTED = "expected log, log1p, sqrt, cbrt, or for example {logit: [0, 100]}"
BOUNDS_EXPECTED = "expected [low, high], each a number, or null where there is no bound"
LEVELS_EXPECTED = (
    "expected nominal, or the levels in their order, such as [low, mid, high]: "
    "two or more texts, each once"
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "columns: {imputed: [a]}",
            "4:11: columns.imputed: unknown key (did you mean impute?); "
            "allowed here: impute, predictors, key, group_by, transform, back_transform, "
            "bounds, bounds_violated, strict, round, categories",
        ),
        ("columns: [a]", "4:10: columns: expected a mapping (`key: value`), got a list"),
        (
            "columns:",
            "4:1: columns: expected a mapping (`key: value`), got nothing; "
            "leave the key out for the default",
        ),
        (
            "columns: {impute: Ozone}",
            "4:19: columns.impute: expected a list, got text; "
            "for example `impute: [Ozone, Solar.R]`",
        ),
        (
            "columns: {impute: []}",
            "4:19: columns.impute: expected at least one name; leave the key out for the default",
        ),
        (
            "columns: {impute: [a, 2020]}",
            "4:23: columns.impute.1: expected text, got a whole number; put it in quotes",
        ),
        ("columns: {key: [null]}", "4:17: columns.key.0: expected text, got nothing"),
        ("columns: {key: [{a: 1}]}", "4:17: columns.key.0: expected text, got a mapping"),
        (
            "columns: {impute: [a, b, a, b, c]}",
            "4:19: columns.impute: a, b: named more than once in this list; keep one",
        ),
        (
            "columns:\n  impute: [a, b]\n  predictors: [c, b]",
            "6:15: columns.predictors: b: also in columns.impute; remove it from one of them",
        ),
        (
            "columns:\n  impute: [a, b]\n  key: [a, c]",
            "6:8: columns.key: a: also in columns.impute; remove it from one of them",
        ),
    ],
)
def test_a_mistake_in_the_columns_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{transform: {a: lg}}", f"4:26: columns.transform.a: {TRANSFORM_EXPECTED}"),
        ("{transform: {b: {logit: [1, 0]}}}", f"4:26: columns.transform.b: {TRANSFORM_EXPECTED}"),
        ("{back_transform: mode}", "4:27: columns.back_transform: expected median or mean"),
        (
            "{bounds: {a: [2, 1]}}",
            "4:23: columns.bounds.a: the lower bound is above the upper one; write [low, high]",
        ),
        ("{bounds: {a: [0]}}", f"4:23: columns.bounds.a: {BOUNDS_EXPECTED}"),
        ("{bounds: {a: [low, 1]}}", f"4:23: columns.bounds.a: {BOUNDS_EXPECTED}"),
        (
            "{round: some}",
            "4:18: columns.round: expected true for every imputed column, "
            "or a list of columns, each once",
        ),
        ("{categories: {b: [one]}}", f"4:27: columns.categories.b: {LEVELS_EXPECTED}"),
        ("{categories: {b: [x, x]}}", f"4:27: columns.categories.b: {LEVELS_EXPECTED}"),
        (
            "{bounds: {a: [0, 1]}, categories: {a: nominal}}",
            "4:44: columns.categories: a: categories have no transform and no bounds; "
            "remove the column from one of them",
        ),
    ],
)
def test_a_wrong_option_of_a_column_is_explained(text: str, complaint: str) -> None:
    assert complaints(f"{MINIMAL}columns: {text}") == [complaint]
