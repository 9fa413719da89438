"""`model.family`: what a job of each may say, and what does not go with it."""

from __future__ import annotations

import jsonschema
import pytest
from job_files import MINIMAL, complaints, load

from em_impute.job import job_schema

MIXTURE, FACTOR = "model: {family: mixture}\n", "model: {family: factor}\n"
CLUSTERED = MINIMAL.replace("out.csv}", "out.csv, clusters: true}")
SCORED = MINIMAL.replace("out.csv}", "out.csv, scores: true}")


def test_a_job_is_of_one_gaussian_unless_it_says_otherwise() -> None:
    model = load(MINIMAL).model
    assert (model.family, model.is_mixture, model.starts) == ("gaussian", False, 1)
    assert model.components is model.covariance_type is None
    assert not load(MINIMAL).target.clusters
    model = load(MINIMAL + MIXTURE).model
    assert (model.is_mixture, model.starts) == (True, 5)
    assert load(MINIMAL + MIXTURE.replace("}", ", n_starts: 2}")).model.starts == 2


def test_all_that_a_mixture_has_is_in_the_schema() -> None:
    options = "{family: mixture, components: 3, covariance_type: tied, prior: 2, time_limit: 5}"
    job = load(f"{CLUSTERED}model: {options}\nimputation: {{method: draw, delta: {{a: 1}}}}")
    assert (job.model.components, job.model.covariance_type) == (3, "tied")
    assert job.target.clusters
    assert load(MINIMAL + MIXTURE.replace("}", ", components: auto}")).model.components == "auto"
    jsonschema.Draft202012Validator(job_schema()).validate(job.model_dump(mode="json"))


def test_all_that_a_factor_model_has_is_in_the_schema() -> None:
    options = "{family: factor, components: 3, noise: isotropic, rotation: varimax, min_noise: 0.1}"
    job = load(f"{SCORED}model: {options}\nimputation: {{method: draw, delta: {{a: 1}}}}")
    assert job.target.scores
    assert (job.model.components, job.model.noise, job.model.rotation) == (
        3,
        "isotropic",
        "varimax",
    )
    assert (job.model.min_noise, job.model.starts, job.model.is_of_rows) == (0.1, 1, True)
    model = load(MINIMAL + FACTOR).model
    assert model.components is model.noise is model.rotation is model.min_noise is None
    jsonschema.Draft202012Validator(job_schema()).validate(job.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{MINIMAL}model: {{components: 3}}",
            "4:8: model: components is of a mixture or a factor model: add `family: mixture` or "
            "`family: factor`, or remove it",
        ),
        (
            f"{MINIMAL}model: {{family: gaussian, covariance_type: tied}}",
            "4:8: model: covariance_type is of a mixture: add `family: mixture`, or remove it",
        ),
        (
            f"{MINIMAL}model: {{family: mixture, components: many}}",
            "4:38: model.components: expected auto, or a whole number from 1 to 100",
        ),
        (
            f"{MINIMAL}model: {{family: tree}}",
            "4:17: model.family: expected gaussian, mixture or factor",
        ),
        (
            f"{MINIMAL}model: {{family: mixture, noise: diagonal}}",
            "4:8: model: noise is of a factor model: add `family: factor`, or remove it",
        ),
        (
            f"{MINIMAL}model: {{rotation: varimax}}",
            "4:8: model: rotation is of a factor model: add `family: factor`, or remove it",
        ),
        (
            f"{MINIMAL}model: {{family: factor, covariance_type: tied}}",
            "4:8: model: covariance_type is of a mixture: add `family: mixture`, or remove it",
        ),
        (
            f"{MINIMAL}model: {{family: factor, n_starts: 3}}",
            "4:8: model: n_starts is of a Gaussian or a mixture: add `family: gaussian` or "
            "`family: mixture`, or remove it",
        ),
        (
            f"{MINIMAL}model: {{family: factor, prior: 1}}",
            "4:8: model: a factor model has no prior; remove it, or set min_noise",
        ),
        (
            f"{MINIMAL}model: {{family: factor, acceleration: squarem}}",
            "4:8: model: a factor model is always sped up by anderson; remove acceleration",
        ),
        (
            f"{CLUSTERED}{FACTOR}",
            "3:9: target: clusters are the components of a mixture: add "
            "`model: {family: mixture}`, or remove clusters",
        ),
        (
            f"{SCORED}{MIXTURE}",
            "3:9: target: scores are those of a factor model: add "
            "`model: {family: factor, components: 3}`, or remove scores",
        ),
        (
            f"{SCORED}{FACTOR}",
            "3:9: target: scores take a column for each factor, so model.components must be a "
            "number, such as components: 3; or remove scores",
        ),
        (
            f"{MINIMAL}{FACTOR}imputation: {{method: multiple}}",
            "5:13: imputation: several imputations are drawn from the posterior of one Gaussian, "
            "which a factor model has not; use `method: draw`, or `family: gaussian`",
        ),
        (
            f"{MINIMAL}{FACTOR}state: {{path: state/air}}",
            "5:8: state: a state sums the rows up, and a factor model needs the rows themselves; "
            "remove it, or use `family: gaussian`",
        ),
        (
            f"{MINIMAL}model: {{family: mixture, acceleration: none}}",
            "4:8: model: a mixture is always sped up by anderson; remove acceleration",
        ),
        (
            CLUSTERED,
            "3:9: target: clusters are the components of a mixture: add "
            "`model: {family: mixture}`, or remove clusters",
        ),
        (
            f"{MINIMAL}{MIXTURE}imputation: {{method: multiple}}",
            "5:13: imputation: several imputations are drawn from the posterior of one Gaussian, "
            "which a mixture has not; use `method: draw`, or `family: gaussian`",
        ),
        (
            f"{MINIMAL}{MIXTURE}state: {{path: state/air}}",
            "5:8: state: a state sums the rows up, and a mixture needs the rows themselves; remove "
            "it, or use `family: gaussian`",
        ),
        (
            'name: a\nsource: {url: "postgresql://h/d", table: t}\n'
            'target: {url: "postgresql://h/d", table: u}\nengine: sql\nmodel: {family: mixture}',
            "4:9: engine: `engine: sql` sums the rows up, and a mixture needs the rows themselves; "
            "remove it, or use `family: gaussian`",
        ),
    ],
)
def test_what_does_not_go_with_a_family_is_refused(text: str, said: str) -> None:
    assert complaints(text) == [said]
