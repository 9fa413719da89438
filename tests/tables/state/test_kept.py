"""The folder of a state: what is not one, is another's or has come to harm, and how it is said."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from daily import Nights, assert_same_estimate, day, full_fit, gathered

from em_impute.job import CannotRun
from em_impute.runs import steps
from em_impute.tables.state import kept


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Three nights, and what a fourth will find."""
    made = Nights(tmp_path)
    for number in range(3):
        made.deliver(number, rows=60)
        made.run(number)
    made.deliver(3, rows=60)
    return made


def tables(nights: Nights, *numbers: int) -> dict[int, np.ndarray]:
    return {number: nights.deliver(number, rows=60) for number in numbers}


def change_index(nights: Nights, **changes: object) -> None:
    path = nights.state / kept.INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_state_of_another_job_is_refused(nights: Nights) -> None:
    change_index(nights, job="weekly")
    before = nights.files()
    with pytest.raises(CannotRun, match="is that of the job 'weekly', not of 'daily'"):
        nights.run(3)
    assert nights.files() == before


def test_a_state_of_a_newer_version_is_refused(nights: Nights) -> None:
    change_index(nights, version=kept.VERSION + 1)
    before = nights.files()
    with pytest.raises(CannotRun, match="was written by a newer version of em_impute"):
        nights.run(3)
    assert nights.files() == before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1, "job": "daily"}', "[" * 99_999])
def test_a_damaged_index_is_kept_aside_and_the_days_are_read_again(
    nights: Nights, damage: str
) -> None:
    (nights.state / kept.INDEX).write_text(damage)
    before = nights.files()
    nights.run(3, publish=False)
    assert nights.files() == before
    found = nights.run(3)
    [sentence] = gathered(found).sentences
    assert "index.json was damaged or changed by hand and is kept aside. 3 of its 3 " in sentence
    assert_same_estimate(found, full_fit(tables(nights, 0, 1, 2, 3)))
    [aside] = nights.state.glob(f"{kept.INDEX}.*{kept.ASIDE}")
    assert aside.read_text() == damage


def without_sums(nights: Nights) -> None:
    """What was added up ahead has the rows of a damaged file, too, and hides the damage a while."""
    for path in nights.state.glob(f"{kept.BLOCK}*"):
        path.unlink()


def summary_file(nights: Nights, number: int) -> Path:
    [path] = nights.state.glob(f"{kept.PARTITION}{day(number)}*.npz")
    return path


@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_summary_is_kept_aside_and_its_day_is_read_again(
    nights: Nights, gone: bool
) -> None:
    path = summary_file(nights, 1)
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-200])
    without_sums(nights)
    found = nights.run(3)
    assert gathered(found).sentences == (
        f"The rows of {day(1)} in the state {nights.state} were damaged; they were read again, and "
        "the file is kept aside.",
    )
    assert_same_estimate(found, full_fit(tables(nights, 0, 1, 2, 3)))
    assert len(list(nights.state.glob(f"*{kept.ASIDE}"))) == (not gone)
    nights.deliver(4, rows=60)
    assert not gathered(nights.run(4)).sentences


def test_a_damaged_summary_is_found_when_its_rows_are_added_up_again(nights: Nights) -> None:
    """The first night still has them in the sum that was made ahead."""
    summary_file(nights, 1).write_bytes(b"")
    found = nights.run(3)
    assert not gathered(found).sentences
    assert_same_estimate(found, full_fit(tables(nights, 0, 1, 2, 3)))
    nights.deliver(4, rows=60)
    found = nights.run(4)
    assert len(gathered(found).sentences) == 1
    assert_same_estimate(found, full_fit(tables(nights, 0, 1, 2, 3, 4)))


def test_a_model_does_without_a_day_that_cannot_be_read_again(nights: Nights) -> None:
    summary_file(nights, 1).write_bytes(b"")
    without_sums(nights)
    Path(str(nights.job.at(day(1)).source.path)).unlink()
    found = nights.run(3)
    [sentence] = gathered(found).sentences
    assert "could not be read again: the model does without them" in sentence
    assert_same_estimate(found, full_fit(tables(nights, 0, 2, 3)))
    nights.deliver(4, rows=60)
    assert not gathered(nights.run(4)).sentences


def test_a_folder_without_the_right_to_write_is_refused_before_anything_is_read(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        # As the system does, which lets root write anywhere.
        raise PermissionError(errno.EACCES, "Permission denied", str(nights.state))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(CannotRun, match=r"The state .* cannot be written \(permission denied\)"):
        nights.run(3)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    nights = Nights(tmp_path)
    nights.deliver(0)
    with pytest.raises(CannotRun, match=r"The state .* cannot be (read|written) \("):
        nights.run(0)


def test_a_state_that_cannot_be_written_after_all_is_a_warning(nights: Nights) -> None:
    """The table is published by then."""
    found = nights.run(3, publish=False)
    (nights.state / kept.INDEX).unlink()
    (nights.state / kept.INDEX).mkdir()
    sentence = steps.update_state(nights.last.job, found.fitted)
    assert sentence.startswith(f"The rows of this run are not in the state {nights.state}: ")
    assert sentence.endswith("Run this date again, or the next models do without them.")


def test_who_has_waited_too_long_for_another_run_is_told(tmp_path: Path) -> None:
    message = "Another run has been using the state"
    with (
        kept.held(tmp_path),
        pytest.raises(CannotRun, match=message),
        kept.held(tmp_path, seconds=0.01),
    ):
        pass


def _killed_in(step: str, nights: Nights) -> None:
    """A run whose process is gone in the middle of changing the state."""
    original = kept.written_whole

    def written(path: Path, partial: Path | None = None) -> object:
        if path.name.startswith(step):
            os._exit(9)
        return original(path, partial)

    kept.written_whole = written  # type: ignore[assignment]
    nights.run(3)


@pytest.mark.parametrize("step", [kept.PARTITION, kept.MODEL, kept.INDEX])
def test_a_run_that_is_killed_while_it_changes_the_state_leaves_it_whole(
    nights: Nights, step: str
) -> None:
    process = multiprocessing.get_context("fork").Process(target=_killed_in, args=(step, nights))
    process.start()
    process.join()
    assert process.exitcode == 9
    again = nights.run(3)
    assert not gathered(again).sentences
    assert not again.not_kept
    assert_same_estimate(again, full_fit(tables(nights, 0, 1, 2, 3)))
    named = {kept.INDEX, kept.MODEL} | {summary_file(nights, n).name for n in range(4)}
    assert {name for name in nights.files() if not name.startswith(kept.BLOCK)} == named
    assert len(nights.files()) == len(named) + 1  # and what the next night will take
