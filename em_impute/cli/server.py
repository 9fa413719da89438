"""Prefect's server: whether it answers, before a command needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

QUIET_SERVER = {"analytics_enabled": "false", "logging_level": "CRITICAL"}


def reach_server() -> bool:
    """Make sure that Prefect's server answers, where the profile or the environment names one.

    Returns
    -------
    bool
        Whether they do; without one, Prefect starts one of its own.

    Raises
    ------
    ConnectionError
        If it does not, or lets nobody in without another password.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if not (url := settings.api.url):
        # Prefect starts a server of its own then, which inherits this environment. What it reports
        # to Prefect's makers, and its log, are not for this terminal.
        for name in ("analytics_enabled", "logging_level"):
            if name not in settings.server.model_fields_set:
                os.environ.setdefault(f"PREFECT_SERVER_{name.upper()}", QUIET_SERVER[name])
        return False
    place = f"The Prefect server at {urlsplit(url).netloc.rpartition('@')[2] or url}"
    try:
        get_client(sync_client=True).raise_for_api_version_mismatch()
    except PrefectHTTPStatusError:
        raise ConnectionError(
            f"{place} does not let us in; set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY, as it "
            "expects it."
        ) from None
    except RuntimeError as error:
        if "incompatible" in str(error):
            raise ConnectionError(f"{place}: {error}") from None
        raise ConnectionError(
            f"{place} does not answer; see that it is running (`prefect server start`) and that "
            "PREFECT_API_URL is its address, or unset that to run without a server."
        ) from None
    return True


@contextmanager
def server_reached() -> Iterator[None]:
    """Make sure of it likewise; Prefect's own server starts while something else is done.

    Raises
    ------
    ConnectionError
    """
    if reach_server():
        yield
        return
    # Not in the thread, where its import would only take turns with other ones.
    import prefect.server.api.server  # noqa: F401

    starting = threading.Thread(target=_start_server, daemon=True)
    starting.start()
    yield
    starting.join()


def _start_server() -> None:
    """Have a client start the server; why it cannot, whoever needs it next is told again."""
    from prefect.client.orchestration import get_client

    with suppress(Exception):
        get_client(sync_client=True)
