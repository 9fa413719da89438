"""`notify`: which block is meant, and what is wrong with a section that says nothing."""

from __future__ import annotations

import pytest
from job_files import MINIMAL, complaints, load


def test_a_name_alone_is_of_the_keys_type() -> None:
    job = load(
        f"{MINIMAL}notify: {{slack: {{block: on-call}}, email: {{block: team}}, "
        "webhook: {block: ms-teams-webhook/on-call}, on: [refused, drifted]}"
    )
    assert job.notify is not None
    assert job.notify.blocks == {
        "slack": "slack-webhook/on-call",
        "email": "sendgrid-email/team",
        "webhook": "ms-teams-webhook/on-call",
    }
    assert job.notify.on == ("refused", "drifted")


def test_what_there_is_a_message_of_where_the_job_does_not_say() -> None:
    job = load(f"{MINIMAL}notify: {{webhook: {{block: pager}}}}")
    assert job.notify is not None
    assert job.notify.on == ("refused", "failed", "lost")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "notify: {on: [refused]}",
            "4:9: notify: expected at least one of slack, email and webhook, such as "
            "slack: {block: on-call}",
        ),
        (
            "notify: {slack: {block: on-call}, on: []}",
            "4:9: notify: on: expected at least one of refused, failed, warnings, lost and "
            "drifted; leave the key out for the default",
        ),
        (
            "notify: {slack: {block: on-call}, on: [published]}",
            "4:40: notify.on.0: expected refused, failed, warnings, lost or drifted",
        ),
        (
            "notify: {slack: {block: 'https://hooks.slack.com/services/T00/B00/XXX'}}",
            "4:25: notify.slack.block: expected the name of a block in Prefect, such as on-call, "
            "or its type and name, such as ms-teams-webhook/on-call; an address or a password "
            "stands in the block",
        ),
        (
            "notify: {slack: {url: x}}",
            "4:18: notify.slack.url: unknown key; allowed here: block",
        ),
    ],
)
def test_a_mistake_is_explained_at_its_place(text: str, complaint: str) -> None:
    assert complaint in complaints(MINIMAL + text)
