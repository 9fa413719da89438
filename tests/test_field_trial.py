"""The default job over some real tables, drawn with a fixed seed; `make field-trial` takes all."""

from pathlib import Path

import pytest
from field_trial import run_trial, some_tables

SEED, TABLES = 20261127, 20


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("prefect_server")
def test_real_tables_end_published_or_refused_with_a_sentence(tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    tally = run_trial(some_tables(SEED, TABLES), SEED, tmp_path, in_prefect=10)
    assert not tally.faults, tally
    assert tally.ends["published"] > TABLES / 2, tally
