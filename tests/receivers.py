"""A receiver of lineage, as tests need one: it takes events, refuses them, or never answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]
NEVER = 0
"""In the place of a status: no answer, as long as whoever asks waits."""


@dataclass
class Receiver:
    """What a receiver was sent.

    Attributes
    ----------
    url : str
    bodies : list of bytes
    """

    url: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        """The bodies as JSON."""
        return [json.loads(body) for body in self.bodies]

    @property
    def states(self) -> list[str]:
        """What each event is of."""
        return [event["eventType"] for event in self.events]


@contextmanager
def receiving(answer: Callable[[Event], int] = lambda _: 200) -> Iterator[Receiver]:
    """A receiver that answers each event with a status, or `NEVER`."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.bodies.append(body)
            status = answer(json.loads(body))
            if status == NEVER:
                over.wait(60)
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield receiver
    finally:
        over.set()
        server.shutdown()
        server.server_close()
