"""The table to write, which is never the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_files import MINIMAL, complaints


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (
            "{path: 's3://bucket/out.csv'}",
            "3:16: target.path: expected a local path: a target at a URL is not supported",
        ),
        (
            "{path: out.csv, keep_versions: 2}",
            "3:9: target: only folders have versions: add partition_by ([] for one file), or "
            "remove keep_versions",
        ),
        (
            "{path: out.csv, mode: upsert}",
            "3:9: target: `mode: upsert` finds the rows to replace by columns.key, which is empty; "
            "name the columns that identify a row there",
        ),
        (
            "{path: in.csv/out, format: csv, partition_by: [a]}",
            "3:9: target: this is the source's own file or folder, which would be overwritten; "
            "choose another path",
        ),
        # A name that would break the message in two.
        (
            r'{path: out, format: csv, partition_by: [".\r"]}',
            r"3:48: target.partition_by: '.\r': readers pass over folders whose names begin with . "
            "or _; rename the column in the source",
        ),
    ],
)
def test_a_target_that_does_not_fit_is_explained(target: str, complaint: str) -> None:
    assert complaints(f"name: air\nsource: {{path: in.csv}}\ntarget: {target}\n") == [complaint]


def test_a_name_that_is_no_text_is_told_as_such() -> None:
    target = r'{path: out, format: csv, partition_by: ["_\ud800\udc00"]}'
    found = complaints(f"name: air\nsource: {{path: in.csv}}\ntarget: {target}\n")
    assert found[0].startswith(r"3:48: target.partition_by: '_\ud800\udc00': readers pass over")
    assert "halves of characters" in found[1]


def test_a_target_that_is_a_link_to_the_source_is_refused() -> None:
    Path("out.csv").symlink_to("in.csv")
    (complaint,) = complaints(MINIMAL)
    assert "this is the source's own file" in complaint
