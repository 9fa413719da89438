"""`model.family`: what a mixture's job may say, and what does not go with it."""

from __future__ import annotations

import jsonschema
import pytest
from job_files import MINIMAL, complaints, load

from em_impute.job import job_schema

MIXTURE = "model: {family: mixture}\n"
CLUSTERED = MINIMAL.replace("out.csv}", "out.csv, clusters: true}")


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{MINIMAL}model: {{components: 3}}",
            "4:8: model: components is of a mixture: add `family: mixture`, or remove it",
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
            f"{MINIMAL}model: {{family: factor}}",
            "4:17: model.family: expected gaussian or mixture",
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
