"""How to log in to a database: the URL and the password that a job names, read when they are used.

They are read at the moment in which a database is opened, and kept nowhere: not in the job, not in
its run. What a block keeps in Prefect is read by whoever knows Prefect, and says so with
`read_blocks_with`; what opens a database need not know.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from em_impute.job import Database, FromBlock, FromEnvironment, split_database_url


class LoginError(Exception):
    """Why there is no login: the rest of a sentence, without a secret and without a full stop."""


@dataclass(frozen=True)
class Login:
    """What opens a database. Neither part is in its repr: a URL may hold a password, too.

    Attributes
    ----------
    url : str
    password : str or None
        None if the URL has it, or none is needed.
    """

    url: str = field(repr=False)
    password: str | None = field(repr=False, default=None)


BlockReader = Callable[[str], str | Login]
"""From a block's name, ``type/name``, to the secret or the whole login that it keeps.

Raises
------
LoginError
"""


def _no_blocks(name: str) -> str | Login:
    raise LoginError(f"the block {name} can only be read where Prefect runs the job")


_read_block: BlockReader = _no_blocks


def read_blocks_with(reader: BlockReader) -> None:
    """From now on, have the blocks that jobs name read by `reader`."""
    global _read_block
    _read_block = reader


def login_to(place: Database) -> Login:
    """Read the URL and the password of a source's or target's database.

    Raises
    ------
    LoginError
        If a variable is not set, a block is not there, or what they hold is no URL of a database.
    """
    kept = place.url if isinstance(place.url, str) else _read(place.url)
    login = kept if isinstance(kept, Login) else Login(kept)
    if not isinstance(place.url, str):
        _check_url(login.url, place.url)
    if place.password is None:
        return login
    return Login(login.url, _password(place.password))


def _read(secret: FromEnvironment | FromBlock) -> str | Login:
    if isinstance(secret, FromBlock):
        return _read_block(secret.block)
    if not os.environ.get(secret.env):
        raise LoginError(f"the environment variable {secret.env} is not set")
    return os.environ[secret.env]


def _password(secret: FromEnvironment | FromBlock) -> str:
    kept = _read(secret)
    password = kept.password if isinstance(kept, Login) else kept
    if password is None:
        raise LoginError(f"{secret} keeps no password")
    return password


def _check_url(url: str, named: FromEnvironment | FromBlock) -> None:
    try:
        split_database_url(url)
    except ValueError as error:
        raise LoginError(f"{named}: {error}") from None
