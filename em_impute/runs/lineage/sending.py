"""An event is sent to whoever OpenLineage's settings name, within their timeout, or not at all.

Its own client reads the settings, and is only imported if there are any. Its words may quote an
address with a key, so only the kinds of its errors are passed on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from em_impute.reporting.parts import kind_and_place
from em_impute.runs.run import Found, Run
from em_impute.runs.steps import SILENT, Log

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

# Each of them alone is enough for its client.
SETTINGS = (
    "OPENLINEAGE_URL",
    "OPENLINEAGE_CONFIG",
    "OPENLINEAGE__TRANSPORT",
    "OPENLINEAGE__TRANSPORT__TYPE",
)
FILE = "openlineage.yml"
# Of a transport that has none of its own, in seconds; it is that of OpenLineage's HTTP.
TIMEOUT = 5.0
THREAD = "em_impute lineage"
# Its client would read the address of the git repository, in which a token may stand.
NO_ADDRESS_OF_GIT = {"facets": {"source_code_location": {"disabled": True}}}
_NOT_INSTALLED = (
    "OpenLineage is set up, but its client is not installed, so no lineage of the run is sent; "
    "install it with `pip install 'em-impute[openlineage]'`."
)


def tell_start(run: Run, log: Log = SILENT) -> None:
    """Send that a run starts, if OpenLineage is set up; a failure is a warning."""
    if not is_set_up():
        return
    try:
        from em_impute.runs.lineage import events
    except ImportError:
        log.warning(_NOT_INSTALLED)
        return
    if failure := _sent(lambda: events.start(run)):
        log.warning(failure)


def tell_end(run: Run, found: Found, sentence: str, aborted: bool = False) -> str:
    """Send how a run has ended, if OpenLineage is set up.

    Parameters
    ----------
    run : Run
    found : Found
    sentence : str
        The verdict.
    aborted : bool
        Whether it was interrupted.

    Returns
    -------
    str
        Why that could not be, a sentence; empty if it was, or nobody wants it.
    """
    if not is_set_up():
        return ""
    try:
        from em_impute.runs.lineage import events
    except ImportError:
        return ""  # which the run's start has a warning of
    return _sent(lambda: events.end(run, found, sentence, aborted))


def is_set_up() -> bool:
    """Whether OpenLineage's settings name a receiver, where its client looks for them."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    home = os.path.expanduser("~")  # noqa: PTH111, which fails for a user without a home
    files = Path(FILE), Path(home, ".openlineage", FILE)
    return any(map(os.environ.get, SETTINGS)) or any(file.is_file() for file in files)


def _sent(event: Callable[[], RunEvent]) -> str:
    """Send an event; why that failed, a sentence, empty if it did not."""
    try:
        why = _send(event())
    except Exception as fault:
        why = kind_and_place(fault)
    return f"The lineage of the run could not be sent by OpenLineage: {why}." if why else ""


def _send(event: RunEvent) -> str:
    from openlineage.client import OpenLineageClient

    _keep_to_itself()
    with _own_environment():
        client = OpenLineageClient(config=NO_ADDRESS_OF_GIT)
    faults: list[Exception] = []

    def emit() -> None:
        try:
            client.emit(event)
            client.close(seconds)
        except Exception as fault:
            faults.append(fault)

    transports = getattr(client.transport, "transports", [client.transport])
    seconds = float(sum(getattr(transport, "timeout", TIMEOUT) for transport in transports))
    # Its transports try again, each in its own way; a run does not wait for that.
    thread = threading.Thread(target=emit, name=THREAD, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return f"nobody took it within {seconds:g} s"
    return _kind(faults[0]) if faults else ""


@contextmanager
def _own_environment() -> Iterator[None]:
    """Take back the copies of its settings, a key among them, that the client makes there."""

    def settings() -> set[str]:
        return {name for name in os.environ if name.startswith("OPENLINEAGE__")}

    before = settings()
    try:
        yield
    finally:
        for name in settings() - before:
            del os.environ[name]


def _keep_to_itself() -> None:
    """Leave what the client says of its work out of the log, but for events that are to be there.

    Unless OPENLINEAGE_CLIENT_LOGGING asks for it.
    """
    if not os.environ.get("OPENLINEAGE_CLIENT_LOGGING"):
        logging.getLogger("openlineage.client").setLevel(logging.CRITICAL)
    logging.getLogger("openlineage.client.transport.console").setLevel(logging.INFO)
    logging.getLogger("urllib3.connectionpool").addFilter(_of_another_thread)


def _of_another_thread(record: logging.LogRecord) -> bool:
    return record.threadName != THREAD


def _kind(fault: Exception) -> str:
    """The kind of an error in sending, with what the receiver has answered."""
    status = getattr(getattr(fault, "response", None), "status_code", None)
    return f"{type(fault).__name__}, status {status}" if status else type(fault).__name__
