"""`notify`: which blocks of Prefect send a message when a run of the deployed job ends badly."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from em_impute.job.types import Section

Occasion = Literal["refused", "failed", "warnings", "lost", "drifted"]
"""What there may be a message about."""

_BLOCK = r"^([a-z0-9-]+/)?[a-z0-9-]+$"


def _block_name(block: str) -> str:
    if not re.fullmatch(_BLOCK, block):
        raise ValueError(
            "expected the name of a block in Prefect, such as on-call, or its type and name, such "
            "as ms-teams-webhook/on-call; an address or a password stands in the block"
        )
    return block


BlockName = Annotated[
    str, AfterValidator(_block_name), WithJsonSchema({"type": "string", "pattern": _BLOCK})
]


class Messenger(Section):
    """A block of Prefect that sends messages; it keeps the address, the job has its name."""

    block: BlockName = Field(
        description="Name of the block in Prefect; TYPE/NAME for one of another type that sends "
        "messages.",
        examples=["on-call"],
    )


class Notify(Section):
    """Which blocks of Prefect send a message, and of what."""

    slack: Messenger | None = Field(
        None,
        description="Block of the type Slack Webhook.",
        examples=[{"block": "on-call"}],
    )
    email: Messenger | None = Field(
        None,
        description="Block of the type Sendgrid Email.",
        examples=[{"block": "on-call"}],
    )
    webhook: Messenger | None = Field(
        None,
        description="Block of the type Custom Webhook.",
        examples=[{"block": "ms-teams-webhook/on-call"}],
    )
    on: tuple[Occasion, ...] = Field(
        ("refused", "failed", "lost"),
        description="What there is a message of: refused, failed, warnings (the table was "
        "published with some), lost, drifted.",
        examples=[["refused", "failed", "warnings", "lost", "drifted"]],
    )

    @model_validator(mode="after")
    def _somebody_of_something(self) -> Self:
        if not self.blocks:
            raise ValueError(
                "expected at least one of slack, email and webhook, such as slack: {block: on-call}"
            )
        if not self.on:
            *others, last = get_args(Occasion)
            raise ValueError(
                f"on: expected at least one of {', '.join(others)} and {last}; leave the key out "
                "for the default"
            )
        return self

    @property
    def blocks(self) -> dict[str, str]:
        """For each key that is given, the type and name of its block, ``slack-webhook/on-call``."""
        given = {key: getattr(self, key) for key in _TYPES}
        return {
            key: one.block if "/" in one.block else f"{_TYPES[key]}/{one.block}"
            for key, one in given.items()
            if one is not None
        }


_TYPES = {"slack": "slack-webhook", "email": "sendgrid-email", "webhook": "custom-webhook"}
"""The type of block that a key stands for."""
