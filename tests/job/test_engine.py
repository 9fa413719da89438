"""`engine`: the name alone, or a mapping; what goes together."""

from __future__ import annotations

import pytest
from job_files import MINIMAL, complaints, load

from em_impute.job import EngineOptions


def test_the_engine_is_local_unless_another_is_named() -> None:
    assert load(MINIMAL).engine == EngineOptions(name="local")
    assert load(f"{MINIMAL}engine: local").engine == EngineOptions()
    assert load(f"{MINIMAL}engine: dask").engine == EngineOptions(name="dask")
    named = load(f"{MINIMAL}engine: {{name: dask, workers: 2}}").engine
    assert (named.name, named.workers) == ("dask", 2)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("spark", "expected local or dask, or a mapping such as"),
        ("{workers: 2}", "workers are Dask's: add `name: dask`"),
        ("{name: dask, workers: 0}", "workers"),
        ("{name: dask, scheduler: tcp://elsewhere:1}", "scheduler: unknown key"),
        ("{name: dask, threads: 2}", "threads"),
    ],
)
def test_what_does_not_go_together_is_refused(engine: str, said: str) -> None:
    found = "\n".join(map(str, complaints(f"{MINIMAL}engine: {engine}")))
    assert said in found
