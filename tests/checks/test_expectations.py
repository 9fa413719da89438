"""Our expectations in GX's own suites, and by name in jobs: verdicts, words, what they refuse."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from em_impute.checks import check_input, check_output, expectations, output_checks, verify_checks
from em_impute.checks.expectations import (
    ExpectImputedDistributionToMatch,
    ExpectMissingnessToBeMcar,
)
from em_impute.gaussian import aleksic_mcar_test
from em_impute.job import Check, Imputation, Job, JobError

AIR = pd.read_csv(Path(__file__).parents[1] / "reference" / "airquality6.csv")
MCAR, MATCH = "expect_missingness_to_be_mcar", "expect_imputed_distribution_to_match"

Validate = Callable[..., Any]


@pytest.fixture(scope="module")
def validate() -> Validate:
    """Validate a table by an expectation or a suite, as a user of GX does."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
    whole = asset.add_batch_definition_whole_dataframe("rows")

    def validate(frame: pd.DataFrame, expected: Expectation | gx.ExpectationSuite) -> Any:
        return whole.get_batch({"dataframe": frame}).validate(expected)

    return validate


def why_not(result: Any) -> str:
    """The message of an expectation that could not be evaluated."""
    assert not result.success
    [info] = result.exception_info.values()
    return str(info["exception_message"])


def filled(seed: int = 1, shift: float = 0.0) -> pd.DataFrame:
    """A filled column with every third cell imputed, off by so many standard deviations."""
    rng = np.random.default_rng(seed)
    imputed = np.arange(300) % 3 == 0
    return pd.DataFrame({"x": rng.normal(5, 2, 300) + 2 * shift * imputed, "imputed": imputed})


# --- In suites of GX ---------------------------------------------------------------------------


def test_a_suite_of_gx_asks_for_mcar(validate: Validate) -> None:
    """The numbers are naniar's; the other four columns give no reason to doubt it."""
    some = ["Ozone", "Solar.R", "Wind", "Temp"]
    suite = gx.ExpectationSuite(
        name="missingness",
        expectations=[
            ExpectMissingnessToBeMcar(severity="warning"),
            ExpectMissingnessToBeMcar(column_list=some),
            ExpectMissingnessToBeMcar(column_list=some, min_p_value=0.1),
        ],
    )
    answer = validate(AIR.assign(note="Xanadu"), suite)
    every, four, strict = answer.results
    assert [r.success for r in answer.results] == [False, True, False]
    assert every.expectation_config.severity == "warning"
    assert every.result["observed_value"] == pytest.approx(0.00142, abs=5e-6)
    assert every.result["details"]["statistic"] == pytest.approx(35.106, abs=5e-4)
    assert (every.result["details"]["df"], every.result["details"]["patterns"]) == (14, 4)
    assert four.result == strict.result
    json.dumps(answer.to_json_dict(), allow_nan=False)


def test_a_suite_of_gx_asks_for_mcar_by_the_other_test(validate: Validate) -> None:
    """Ozone is missing by the month; without a complete column nothing can be said."""
    expected = ExpectMissingnessToBeMcar(test="aleksic")
    answer = validate(AIR, expected).result
    test = aleksic_mcar_test(AIR)
    assert answer["observed_value"] == pytest.approx(test.p_value)
    assert answer["details"]["by_missing"] == pytest.approx(dict(test.by_missing))
    assert expected.observed(answer) == (
        f"p = {test.p_value:.3g}, Aleksić's test: {test.statistic:.4g} on {test.df} degrees of "
        "freedom"
    )
    check = Check(expectation=MCAR, kwargs={"column_list": ["Ozone", "Solar.R"], "test": "aleksic"})
    [alone] = check_input(AIR, (check,), ()).results
    assert alone.observed.startswith("cannot be judged: Aleksić's test needs a column")


def test_examples_in_docstrings_run() -> None:
    failures, tried = doctest.testmod(expectations)
    assert tried
    assert not failures


def test_rows_can_be_chosen(validate: Validate) -> None:
    july = ExpectMissingnessToBeMcar(
        column_list=["Ozone", "Wind"],
        row_condition=Column("Month") == 7,
    )
    alone = ExpectMissingnessToBeMcar(column_list=["Ozone", "Wind"])
    assert validate(AIR, july).result == validate(AIR[AIR.Month == 7], alone).result


def test_nullable_columns_are_numbers_too(validate: Validate) -> None:
    expected = ExpectMissingnessToBeMcar()
    nullable = AIR.convert_dtypes(dtype_backend="pyarrow")
    assert validate(nullable, expected).result == validate(AIR, expected).result
    named = validate(AIR, expected).result
    numbered = validate(AIR.set_axis(range(AIR.shape[1]), axis=1), expected).result
    by_name, by_number = (r["details"].pop("by_column") for r in (named, numbered))
    assert numbered == named
    assert {AIR.columns[int(label)]: part for label, part in by_number.items()} == by_name


@pytest.mark.parametrize("kind", [float, Decimal])
def test_columns_of_objects_are_numbers_if_all_their_cells_are(
    validate: Validate, kind: Callable[[float], Any]
) -> None:
    """As decimals of a database are in pandas; flags and text are left out."""
    objects = AIR.map(lambda cell: None if pd.isna(cell) else kind(cell)).astype(object)
    flags = pd.Series([True, None, False] * 51, dtype=object)
    others = {"flag": flags, "text": flags.map({True: "a"}), "id": 2**60 + np.arange(len(AIR))}
    answer = validate(objects.assign(**others), ExpectMissingnessToBeMcar())
    assert answer.result == validate(AIR, ExpectMissingnessToBeMcar()).result


@pytest.mark.parametrize("frame", [AIR[["Wind", "Temp"]], AIR[["Ozone"]]], ids=["whole", "one"])
def test_where_nothing_can_be_told_apart_mcar_passes(
    validate: Validate, frame: pd.DataFrame
) -> None:
    answer = validate(frame, ExpectMissingnessToBeMcar())
    assert answer.success
    assert answer.result["observed_value"] is None
    words = "nothing to test, all rows show the same columns"
    assert ExpectMissingnessToBeMcar.observed(answer.result) == words


@pytest.mark.parametrize(
    ("frame", "columns", "said"),
    [
        (AIR, ["Ozone", "Solar"], "the table has no column Solar"),
        (AIR.assign(t="a"), ["t"], "t must be a column of numbers, not of str"),
        (AIR.assign(t=2**60), ["t"], "t holds whole numbers beyond 2**53"),
        (AIR.assign(t=True), ["t"], "t must be a column of numbers, not of bool"),
        (AIR[["Ozone"]].astype(str), [], "no numeric column in which a cell is observed"),
        (AIR.assign(Temp=np.inf), ["Temp"], "Temp has infinite cells"),
        (AIR.assign(Temp=np.nan), ["Temp", "Wind"], "No cell is observed in 'Temp'"),
        (AIR.assign(sum=AIR.Wind + AIR.Temp), [], "combination of 'Wind', 'Temp' and 'sum'"),
    ],
    ids=["missing", "text", "large", "flags", "no numbers", "infinite", "empty", "a sum"],
)
def test_mcar_says_what_it_cannot_judge(
    validate: Validate, frame: pd.DataFrame, columns: list[str], said: str
) -> None:
    answer = validate(frame, ExpectMissingnessToBeMcar(column_list=columns))
    assert said in why_not(answer)


def test_imputed_cells_that_are_like_the_observed_ones_pass(validate: Validate) -> None:
    limits = {"column": "x", "mask_column": "imputed", "max_ks": 0.3, "max_mean_difference": 0.5}
    alike = validate(filled(), ExpectImputedDistributionToMatch(**limits))
    assert alike.success
    assert alike.result["details"] == {"imputed": 100, "observed": 200}
    apart = validate(filled(shift=1.0), ExpectImputedDistributionToMatch(**limits))
    assert not apart.success
    seen = apart.result["observed_value"]
    frame = filled(shift=1.0)
    observed, imputed = (frame.x[frame.imputed == i].sort_values() for i in (False, True))
    assert seen["mean_difference"] == pytest.approx(
        (imputed.mean() - observed.mean()) / observed.std(ddof=0)
    )
    below = [
        np.searchsorted(cells, frame.x, side="right") / len(cells) for cells in (observed, imputed)
    ]
    assert seen["ks"] == pytest.approx(np.abs(below[0] - below[1]).max())
    json.dumps(apart.to_json_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("limits", "success"),
    [({"max_ks": 0.2}, False), ({"max_mean_difference": 1.5}, True), ({"max_ks": 0.6}, True)],
)
def test_only_the_limits_that_are_given_count(
    validate: Validate, limits: dict[str, float], success: bool
) -> None:
    expected = ExpectImputedDistributionToMatch(column="x", mask_column="imputed", **limits)
    assert validate(filled(shift=1.0), expected).success is success


def packed(bit: int) -> pd.Series:
    """A mask that tells the imputed cells by one bit, all bits around it being noise."""
    bits = np.random.default_rng(3).random((300, bit + 9)) < 0.5
    bits[:, bit] = filled().imputed
    words = np.packbits(bits, axis=1, bitorder="little")
    if bit > 60:
        return pd.Series([word.tobytes() for word in words])
    weights = 256 ** np.arange(words.shape[1], dtype=np.int64)
    return pd.Series(words.astype(np.int64) @ weights)


@pytest.mark.parametrize(
    ("mask", "bit"),
    [
        (filled().imputed.astype(int), None),
        (filled().imputed.astype("boolean"), None),
        (filled().imputed.astype(float), None),
        (packed(0), 0),
        (packed(7), 7),
        (packed(40), 40),
        (packed(70), 70),
    ],
    ids=["0 and 1", "nullable", "floats", "bit 0", "bit 7", "bit 40", "bit 70 of bytes"],
)
def test_a_mask_can_be_of_any_kind(validate: Validate, mask: pd.Series, bit: int | None) -> None:
    plain = ExpectImputedDistributionToMatch(column="x", mask_column="imputed", max_ks=0.5)
    asked = ExpectImputedDistributionToMatch(column="x", mask_bit=bit, max_ks=0.5)
    answer = validate(filled().assign(em_impute_mask=mask), asked)
    assert answer.success
    assert answer.result == validate(filled(), plain).result


@pytest.mark.parametrize(
    ("frame", "options", "said"),
    [
        (filled(), {}, "the table has no column em_impute_mask"),
        (filled().assign(em_impute_mask=2), {}, "must be true or false (or 1 or 0); for a packed"),
        (filled().assign(em_impute_mask=None), {}, "must say for every row"),
        (filled().assign(em_impute_mask="a"), {"mask_bit": 0}, "not a packed mask with a bit 0"),
        (filled().assign(em_impute_mask=b"a"), {"mask_bit": 8}, "not a packed mask with a bit 8"),
        (filled().assign(em_impute_mask=1), {"mask_bit": 63}, "not a packed mask with a bit 63"),
        (filled().assign(em_impute_mask=1), {}, "observed cells of x have no spread"),
        (
            filled().assign(em_impute_mask=filled().imputed, x="Xanadu"),
            {},
            "must be a column of num",
        ),
    ],
    ids=["none", "no boolean", "null", "text", "few bytes", "few bits", "all imputed", "no number"],
)
def test_match_says_what_it_cannot_judge(
    validate: Validate, frame: pd.DataFrame, options: dict[str, Any], said: str
) -> None:
    expected = ExpectImputedDistributionToMatch(column="x", max_ks=0.5, **options)
    assert said in why_not(validate(frame, expected))


def test_few_imputed_cells_are_not_judged(validate: Validate) -> None:
    """One cell alone is at a distance of at least a half from any distribution."""
    frame = filled().assign(em_impute_mask=np.arange(300) == 7)
    few = validate(frame, ExpectImputedDistributionToMatch(column="x", max_ks=0.1))
    assert few.success
    words = "too few to judge, 1 imputed and 299 observed cells"
    assert ExpectImputedDistributionToMatch.observed(few.result) == words
    judged = ExpectImputedDistributionToMatch(column="x", max_ks=0.1, min_cells=1)
    assert not validate(frame, judged).success
    none = frame.assign(em_impute_mask=0)
    assert validate(none, judged.copy(update={"min_cells": 1})).success


def test_pages_of_gx_say_it_in_words(validate: Validate) -> None:
    suite = gx.ExpectationSuite(
        name="words",
        expectations=[
            ExpectMissingnessToBeMcar(),
            ExpectImputedDistributionToMatch(column="Wind", mask_column="m", max_ks=0.1),
        ],
    )
    answer = validate(AIR.assign(m=AIR.Ozone.isna()), suite)
    html = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(answer))
    for words in (
        "cells of all numeric columns missing completely at random (p at least 0.05).",
        "Little's test: 35.11 on 14 degrees of freedom, 4 patterns",
        "imputed cells of Wind like observed ones (KS distance at most 0.1).",
        "37 imputed and 116 observed cells",
    ):
        assert words in html.replace("&#39;", "'")
    for expectation in suite.expectations:
        expectation.render()
        [content] = expectation.rendered_content or []
        assert content.to_json_dict()["value"]["template"] == f"{expectation.expected()}."  # type: ignore[attr-defined]


# --- In jobs -----------------------------------------------------------------------------------


def job(*, mask: bool = True, before: list[Any] = (), after: list[Any] = ()) -> Job:  # type: ignore[assignment]
    return Job.model_validate(
        {
            "name": "test",
            "source": {"path": "in.csv"},
            "imputation": Imputation(mask=mask),
            "checks": {"input": list(before), "output": list(after)},
            "target": {"path": "out.csv"},
        }
    )


def complaints(job: Job) -> list[str]:
    with pytest.raises(JobError) as caught:
        verify_checks(job)
    return [problem.message for problem in caught.value.problems]


def test_a_job_names_them_as_it_names_those_of_gx() -> None:
    verify_checks(
        job(
            before=[
                {MCAR: {}},
                {MCAR: {"column_list": ["Ozone"], "min_p_value": 0.01, "severity": "warning"}},
                {MATCH: {"column": "x", "mask_column": "em_impute_mask", "max_ks": 0.5}},
            ],
            after=[{MATCH: {"column": "x", "max_mean_difference": 2}}],
        )
    )


def test_what_is_wrong_with_them_in_a_job_is_said_before_the_run() -> None:
    wrong = job(
        mask=False,
        before=[
            {MCAR: {"column_list": "Ozone"}},
            {MCAR: {"min_p_value": 2}},
            {MCAR: {"alpha": 0.05}},
            {MATCH: {"column": "x", "max_ks": 0.5}},
        ],
        after=[{MATCH: {"column": "x"}}, {MATCH: {"column": "x", "max_ks": 0.5}}],
    )
    assert complaints(wrong) == [
        f"{MCAR}: column_list must be a list, got text",
        f"{MCAR}: min_p_value must be at most 1, got 2",
        f"{MCAR}: there is no option alpha, only column_list, condition_parser, description, "
        "min_p_value, notes, row_condition, test",
        f"{MATCH}: without max_ks or max_mean_difference it would check nothing",
        f"{MATCH}: nothing is imputed in the input yet; move it to checks.output, or name a "
        "mask_column",
        f"{MATCH}: the mask tells which cells are imputed; add imputation: {{mask: true}}, or name "
        "a mask_column",
        f"{MATCH}: the mask tells which cells are imputed; add imputation: {{mask: true}}, or name "
        "a mask_column",
    ]


def test_a_job_finds_the_bit_of_the_mask() -> None:
    given = {"column": "y", "mask_column": "mine", "max_ks": 0.5}
    asked = job(after=[{MATCH: {"column": "y", "max_ks": 0.5}}, {MATCH: given}])
    (found, own), _ = output_checks(asked, ["x", "y"])
    assert found.kwargs == {
        "column": "y",
        "max_ks": 0.5,
        "mask_column": "em_impute_mask",
        "mask_bit": 1,
    }
    assert own.kwargs == given
    with pytest.raises(JobError, match=rf"checks.output.0: {MATCH}: y is not imputed by this job"):
        output_checks(asked, ["x"])


def test_rows_that_are_alone_in_their_pattern_are_no_test_and_say_so() -> None:
    pairs = np.array(list(combinations(range(12), 2)))
    X = np.random.default_rng(14).normal(size=(len(pairs), 12))
    np.put_along_axis(X, pairs, np.nan, axis=1)
    frame = pd.DataFrame(X).rename(columns="c{}".format)
    [alone] = check_input(frame, (Check(expectation=MCAR, severity="warning"),), ()).results
    assert not alone.success
    assert alone.observed.startswith("cannot be judged: Little's test compares the means of pat")


def test_their_results_are_in_the_jobs_report() -> None:
    checks = (
        Check(expectation=MCAR, severity="warning"),
        Check(expectation=MCAR, kwargs={"column_list": ["Ozone", "Xanadu"]}, severity="info"),
        Check(expectation=MCAR, kwargs={"description": "nobody hides ozone"}, severity="info"),
    )
    condition = {"column_list": ["Ozone", "Wind"], "row_condition": 'col("Month") > 6'}
    checks += (Check(expectation=MCAR, kwargs=condition),)
    little, absent, described, late = check_input(AIR, checks, ()).results
    assert late.expected == (
        'cells of Ozone, Wind missing completely at random (p at least 0.05) where col("Month") > 6'
    )
    assert (little.success, little.severity, little.column) == (False, "warning", None)
    assert str(little) == (
        "cells of all numeric columns missing completely at random (p at least 0.05) "
        "(p = 0.00142, Little's test: 35.11 on 14 degrees of freedom, 4 patterns)"
    )
    assert absent.observed == "cannot be judged: the table has no column Xanadu"
    assert described.expected == "nobody hides ozone"
    limits = {"column": "x", "mask_column": "imputed", "max_ks": 0.05}
    [match] = check_output(filled(), [Check(expectation=MATCH, kwargs=limits)], ()).results
    assert match.column == "x"
    assert match.expected == "imputed cells of x like observed ones (KS distance at most 0.05)"
    assert match.observed.endswith("sd, 100 imputed and 200 observed cells")


def test_no_value_of_the_table_is_in_a_result() -> None:
    frame = AIR.assign(Ozone=AIR.Ozone + 123456.75, note="Xanadu")
    checks = [
        Check(expectation=MCAR),
        Check(expectation=MCAR, kwargs={"column_list": ["note"]}),
        Check(expectation=MATCH, kwargs={"column": "note", "mask_column": "Ozone", "max_ks": 0.5}),
        Check(expectation=MATCH, kwargs={"column": "Ozone", "mask_column": "note", "max_ks": 0.5}),
    ]
    told = json.dumps(check_input(frame, checks, ()).to_dict())
    assert "123456" not in told
    assert "Xanadu" not in told
