"""The login to a database as a block of Prefect, and how the blocks that a job names are read.

`prefect block register -m em_impute.blocks` makes all of our blocks known to a server. Prefect's
servers and workers import that module when they start, as one of their `prefect.collections`, so it
imports little. Prefect shows the docstrings of blocks to its users, and wants them in this format.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

# Every block that is in this module by its own name would be registered as one of ours.
from prefect.blocks import core, system
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from em_impute.job import holds_password, split_database_url
from em_impute.tables.databases.logins import Login, LoginError

DOCUMENTATION = HttpUrl("https://pypi.org/project/em-impute/")
# Prefect takes pictures from the web only, so these are two of its own.
PICTURES = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/"
    "420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos"
)
# A block refuses what it has no field for, and does not repeat what it refuses.
STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


class EMImputeDatabase(core.Block):
    """The login to a database, which jobs of em_impute name instead of an address and a password.

    In a job: `target: {url: {block: em-impute-database/BLOCK_NAME}, table: sales.orders}`.

    Attributes:
        url: The address of the database, without a password.
        password: The password, if the database asks for one.

    Example:
        See which database it is; jobs name the block by themselves:
        ```python
        from em_impute.blocks import EMImputeDatabase

        database = EMImputeDatabase.load("BLOCK_NAME")
        print(database.url)
        ```
    """

    model_config: ClassVar[ConfigDict] = STRICT

    _block_type_name = "EM Impute Database"
    _block_type_slug = "em-impute-database"
    _logo_url = HttpUrl(f"{PICTURES}/secret.png")
    _documentation_url = DOCUMENTATION

    url: str = Field(
        title="URL",
        description="The database, such as postgresql://user@host/database, without a password.",
    )
    password: SecretStr = Field(
        SecretStr(""),
        title="Password",
        description="The password, if the database asks for one.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_database(cls, url: str) -> str:
        _, parts = split_database_url(url)
        if holds_password(parts):
            raise ValueError("the password has a field of its own; take it out of the URL")
        return url

    def login(self) -> Login:
        """Give what opens the database; neither part is in its repr."""
        return Login(self.url, self.password.get_secret_value() or None)


def read_block(name: str) -> str | Login:
    """Read what a job may name: a secret, or the login to a database.

    Args:
        name: Type and name of the block: `secret/NAME` or `em-impute-database/NAME`.

    Raises:
        LoginError: If it is not there, is of another kind, or Prefect does not answer.
    """
    try:
        # In a task of an asynchronous flow, too, it answers itself, not with a coroutine.
        block = cast(Any, core.Block).load(name, _sync=True)
    except Exception as error:  # whatever it was: its message may quote what the block holds
        raise LoginError(
            f"the block {name} cannot be read from Prefect ({type(error).__name__}); "
            f"see that `prefect block inspect {name}` finds it"
        ) from None
    match block:
        case EMImputeDatabase():
            return block.login()
        case system.Secret():
            # Not get(), which makes a number of a password of digits.
            secret = block.value.get_secret_value()
            if isinstance(secret, str):
                return secret
            raise LoginError(f"the block {name} keeps something else than text")
    raise LoginError(f"the block {name} is neither a secret/... nor an em-impute-database/...")
