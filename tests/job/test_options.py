"""The options of the model, the imputation and the self-test."""

from __future__ import annotations

import pytest
from job_files import MINIMAL, complaints, load

MODEL_KEYS = (
    "family, components, covariance_type, noise, rotation, min_noise, tol, max_iter, prior, "
    "acceleration, time_limit, n_starts, min_group_rows"
)
SELF_TEST_EXPECTED = (
    "expected off, fill or refit, or a mapping such as "
    "{method: fill, max_rmse_ratio: 1.0, min_coverage_95: 0.9}"
)


def test_the_self_test_is_on_unless_it_is_off() -> None:
    default = load(MINIMAL).self_test
    assert (default.method, default.max_share, default.max_cells) == ("fill", None, 50_000)
    assert not default.has_limits
    assert load(f"{MINIMAL}self_test: off").self_test.method == "off"
    assert load(f"{MINIMAL}self_test: refit").self_test.method == "refit"
    limits = load(f"{MINIMAL}self_test: {{max_rmse_ratio: 1.0, min_coverage_95: 0.9}}").self_test
    assert (limits.method, limits.max_rmse_ratio, limits.min_coverage_95) == ("fill", 1.0, 0.9)
    assert limits.has_limits
    limits = load(
        f"{MINIMAL}self_test: {{max_rmse_ratio: {{a: 0.9}}, min_accuracy: 0.5}}"
    ).self_test
    assert limits.limits == {"max_rmse_ratio": {"a": 0.9}, "min_accuracy": 0.5}
    assert limits.has_limits


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "model:\n  max_iters: 5",
            "5:3: model.max_iters: unknown key (did you mean max_iter?); "
            f"allowed here: {MODEL_KEYS}",
        ),
        (
            "imputation: {chains: 1}",
            "4:14: imputation.chains: unknown key; allowed here: method, draws, posterior, "
            "max_sweeps, seed, mask, delta",
        ),
        ("imputation: {seed: -1}", "4:20: imputation.seed: expected a number of 0 or more"),
        (
            "imputation: {mask: 3}",
            "4:20: imputation.mask: expected true or false, got a whole number",
        ),
        (
            "imputation: {delta: {income: low}}",
            "4:30: imputation.delta.income: expected a number, got text",
        ),
        (
            "imputation: {delta: {income: .nan}}",
            "4:30: imputation.delta.income: expected a finite number; "
            "for no limit leave the key out",
        ),
        (
            "imputation: {delta: {income: -500}}",
            "4:30: imputation.delta.income: expected a number of -10 or more",
        ),
        (
            "imputation: {delta: -0.2}",
            "4:21: imputation.delta: expected a mapping (`key: value`), got a number with a "
            "decimal point; for example `delta: {income: -0.2}`",
        ),
        ("self_test: maybe", f"4:12: self_test: {SELF_TEST_EXPECTED}"),
        ("self_test: false", f"4:12: self_test: {SELF_TEST_EXPECTED}"),
        ("self_test: {method: mean}", "4:21: self_test.method: expected off, fill or refit"),
        (
            "self_test: {min_coverage: 0.9}",
            "4:13: self_test.min_coverage: unknown key (did you mean min_coverage_95?); allowed "
            "here: method, max_share, max_cells, seed, max_rmse_ratio, min_coverage_95, "
            "max_pit_distance, min_accuracy, min_accuracy_gain",
        ),
        (
            "self_test: {max_share: 2}",
            "4:24: self_test.max_share: expected a number of 1 or less; for example "
            "`max_share: 0.02`",
        ),
        (
            "self_test: {min_coverage_95: 95}",
            "4:30: self_test.min_coverage_95: expected a number below 1; "
            "for example `min_coverage_95: 0.9`",
        ),
        (
            "self_test: {max_rmse_ratio: {amount: 0.9, price: -1}}",
            "4:50: self_test.max_rmse_ratio.price: expected a number above 0",
        ),
        (
            "self_test: {min_accuracy: {sex: 80}}",
            "4:33: self_test.min_accuracy.sex: expected a number below 1",
        ),
        (
            "self_test: {min_accuracy_gain: good}",
            "4:32: self_test.min_accuracy_gain: expected a number, got text; "
            "for example `min_accuracy_gain: 0.0`",
        ),
        (
            "self_test: {max_pit_distance: {}}",
            "4:31: self_test.max_pit_distance: expected at least one column with its limit; "
            "leave the key out for none",
        ),
        (
            "self_test: {method: off, max_rmse_ratio: 1.0}",
            "4:12: self_test: `method: off` tests nothing, so it has no limits; "
            "remove one of the two",
        ),
        (
            "self_test: {method: refit, max_share: 0.6}",
            "4:12: self_test: with `method: refit` max_share is at most 0.5, so that the second "
            "fit has cells left; lower it, or test with `method: fill`",
        ),
        ("model: {tol: small}", "4:14: model.tol: expected a number, got text"),
        ("model: {tol: true}", "4:14: model.tol: expected a number, got true or false"),
        ("model: {tol: 0}", "4:14: model.tol: expected a number above 0"),
        ("model: {tol: 1}", "4:14: model.tol: expected a number below 1"),
        (
            "model: {tol: .inf}",
            "4:14: model.tol: expected a finite number; for no limit leave the key out",
        ),
        (
            "model: {tol: !!float x}",
            "4:14: model.tol: the text does not fit the tag before it, or the number is too long",
        ),
        (
            "model: {max_iter: 10.5}",
            "4:19: model.max_iter: expected a whole number, got a number with a decimal point",
        ),
        ("model: {max_iter: '10'}", "4:19: model.max_iter: expected a whole number, got text"),
        ("model: {max_iter: 0}", "4:19: model.max_iter: expected a number of 1 or more"),
        (
            "model: {prior: ridge}",
            "4:16: model.prior: expected auto, or a number of pseudo-rows that is 0 or more",
        ),
        (
            "model: {prior: -1}",
            "4:16: model.prior: expected auto, or a number of pseudo-rows that is 0 or more",
        ),
        (
            "model: {acceleration: warp}",
            "4:23: model.acceleration: expected anderson, squarem or none",
        ),
        (
            "model: {time_limit: 0}",
            "4:21: model.time_limit: expected a number above 0; for example `time_limit: 600`",
        ),
        (
            "imputation: {method: median}",
            "4:22: imputation.method: expected mean, draw or multiple",
        ),
    ],
)
def test_a_mistake_in_an_option_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaints(MINIMAL + text) == [complaint]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("{method: multiple, draws: 1}", "expected auto, or the number of imputations"),
        ("{method: multiple, draws: yes}", "expected auto, or the number of imputations"),
        ("{method: multiple, draws: many}", "a whole number from 2 to 1,000"),
        ("{draws: 5}", "draws is about several imputations: add `method: multiple`"),
        ("{method: draw, posterior: ml}", "posterior is about several imputations"),
        ("{max_sweeps: 5}", "max_sweeps is about several imputations"),
        (
            "{method: multiple, posterior: bootstrap}\ncolumns: {group_by: [a]}",
            "fits one model to resampled rows of all groups; use `posterior: augmentation`",
        ),
    ],
)
def test_several_imputations_are_asked_for_by_their_method(given: str, complaint: str) -> None:
    assert complaint in " ".join(complaints(f"{MINIMAL}imputation: {given}"))
