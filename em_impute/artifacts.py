"""What a run shows in Prefect's UI: the progress of EM while it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from em_impute.gaussian import EMResult, Iteration
from em_impute.progress import Listener, heard_by, in_words

# The progress artifact is updated at most this often, in seconds.
PROGRESS_INTERVAL = 1.0
# What a server that does not answer may hold up a fit that has ended, in seconds.
PATIENCE = 30.0


@contextmanager
def em_progress(key: str) -> Iterator[EMProgress]:
    """Have the progress artifact `key` follow EM meanwhile; EM does not wait for it."""
    progress = EMProgress(key)
    # In this context the thread finds the task's run, its logger and its client.
    thread = threading.Thread(target=copy_context().run, args=(progress.follow,), daemon=True)
    thread.start()
    try:
        with heard_by(progress):
            yield progress
    finally:
        progress.over.set()
        thread.join(PATIENCE)


class EMProgress(Listener):
    """What of EM is to be shown, and the thread's work that shows it.

    Attributes
    ----------
    over : threading.Event
        Set when EM has ended: the artifact is updated once more.
    """

    def __init__(self, key: str) -> None:
        self.over = threading.Event()
        self._key = key
        self._shown = self._latest = (0.0, "EM begins.")

    def iterated(self, iteration: Iteration, share: float) -> None:
        """Take note; the thread comes for it when it is time."""
        self._latest = (100.0 * share, in_words(iteration))

    def ended(self, result: EMResult) -> None:
        """Take note of how it ended; only at the maximum all of the way has been gone."""
        self._latest = (100.0 if result.converged else self._latest[0], result.message)

    def follow(self) -> None:
        """Make the artifact, and keep it as EM is until it is over."""
        try:
            # Outside of an event loop Prefect's functions answer themselves, not by a coroutine.
            artifact = cast(
                UUID, create_progress_artifact(0.0, key=self._key, description=self._shown[1])
            )
            while not self.over.wait(PROGRESS_INTERVAL):
                if self._update(artifact):
                    get_run_logger().info(self._shown[1])
            self._update(artifact)
        except Exception as error:  # of whatever kind: the fit does not depend on being watched
            get_run_logger().warning(
                "Prefect does not show the progress of EM any more (%s); the fit goes on.",
                type(error).__name__,
            )

    def _update(self, artifact: UUID) -> bool:
        latest = self._latest
        if latest == self._shown:
            return False
        update_progress_artifact(artifact, round(latest[0], 1), description=latest[1])
        self._shown = latest
        return True
