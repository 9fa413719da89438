"""The errors of a job, and how their words are written."""

from __future__ import annotations

import pickle

from em_impute.job import JobError, Problem
from em_impute.job.mistakes import did_you_mean, listed, nearest


def test_an_error_survives_pickling() -> None:
    error = JobError([Problem("job.yaml:1:1", "name: wrong"), Problem("job.yaml", "wrong")])
    assert str(pickle.loads(pickle.dumps(error))) == "job.yaml:1:1: name: wrong\njob.yaml: wrong"


def test_the_nearest_words_are_asked_for() -> None:
    names = ["Ozone", "Ozone_ppb", "Wind"]
    assert nearest("Ozon", names) == ["Ozone"]
    assert nearest("Ozon", names, most=3) == ["Ozone", "Ozone_ppb"]
    assert did_you_mean("Ozon", names) == " (did you mean Ozone?)"
    assert did_you_mean("Ozon", ["Ozo\x1bne"]) == " (did you mean Ozo\u25a1ne?)"
    assert did_you_mean("pressure", names) == ""


def test_names_are_listed_up_to_a_number() -> None:
    names = [f"c{i}" for i in range(2000)]
    assert listed(names[:3]) == "c0, c1, c2"
    assert listed(names, 2) == "c0, c1 and 1,998 more"
    assert listed(["a\nb", "c"]) == r"'a\nb', c"
    assert listed(["a b"], write=repr) == "'a b'"
