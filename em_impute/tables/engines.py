"""Where the passes over a snapshot are carried out: here, or part by part on Dask's workers.

A part is a run of batches of the snapshot, which workers read for themselves: only the function and
what it returns travel, or what it returns is kept where it is, and asked. The parts are the same
for any number of workers, and so is the answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from em_impute.gaussian.threads import at_most
from em_impute.job import CannotRun, EngineOptions
from em_impute.tables.progress import rows_passed
from em_impute.tables.snapshot import Part, Snapshot

if TYPE_CHECKING:
    from distributed import Client, Future

# Where Dask itself looks for the address.
ADDRESS = "DASK_SCHEDULER_ADDRESS"
# Seconds until a scheduler that does not answer, or has no worker, is given up.
PATIENCE = 30

Result = TypeVar("Result")


class EngineError(CannotRun):
    """The cluster that a job names cannot do its work."""


class WorkersLostError(OSError):
    """Workers died of a part of the table, one after the other, or none is left."""


@dataclass(frozen=True)
class Workers:
    """The workers of a cluster, all of which see a snapshot."""

    client: Client

    def __len__(self) -> int:
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def map(
        self, function: Callable[[Part], Result], snapshot: Snapshot, parts: Sequence[Part]
    ) -> Generator[Result]:
        """What `function` returns for each part of a snapshot, in their order.

        A part whose worker dies is worked on again by another one.

        Parameters
        ----------
        function : callable
        snapshot : Snapshot
        parts : sequence of Part

        Raises
        ------
        EngineError
            If a worker does not see the snapshot.
        WorkersLostError
            If several workers have died of one part, or none is left.
        """
        self._require_sight(snapshot.path.absolute())
        results = self.results(self.begun(function, parts))
        with closing(results):
            for done, (result, part) in enumerate(zip(results, parts, strict=True), start=1):
                yield result
                rows_passed(part.first_row + part.rows, done / len(parts))

    def keep(
        self,
        function: Callable[[Sequence[Part]], Any],
        snapshot: Snapshot,
        blocks: Sequence[Sequence[Part]],
    ) -> Kept:
        """What `function` returns for each block of parts, left on the workers.

        What a worker holds when it dies is made again by another one.

        Parameters
        ----------
        function : callable
        snapshot : Snapshot
        blocks : sequence of sequence of Part

        Raises
        ------
        EngineError
            If a worker does not see the snapshot.
        """
        self._require_sight(snapshot.path.absolute())
        return Kept(self, self.begun(function, blocks))

    def begun(
        self, function: Callable[[Any], Result], items: Sequence[Any]
    ) -> list[Future[Result]]:
        """The future results of `function`, each on a worker; items may be future ones."""
        return self.client.map(partial(_alone, function), items, pure=False)

    def results(self, futures: Sequence[Future[Result]]) -> Generator[Result]:
        """Yield the results in their order, each of which its worker then lets go."""
        from distributed import KilledWorker

        try:
            for future in futures:
                yield self._awaited(future)
                future.release()
        except KilledWorker:
            raise WorkersLostError(
                "A part of the table could not be worked on: several of Dask's workers died of "
                "it, one after the other. See whether they have enough memory; a smaller "
                "batch_rows needs less."
            ) from None
        finally:
            self.client.cancel(futures)

    def _awaited(self, future: Future[Result]) -> Result:
        """What a function returns, as long as there are workers that may still carry it out."""
        while True:
            try:
                return future.result(timeout=PATIENCE)
            except TimeoutError:
                if future.done():
                    raise
                try:
                    self.client.wait_for_workers(1, timeout=PATIENCE)
                except TimeoutError:
                    raise WorkersLostError(
                        "A part of the table could not be worked on: none of Dask's workers is "
                        "left, and none came back. See why they died or were stopped; most often "
                        "they ran out of memory, of which a smaller batch_rows needs less."
                    ) from None

    def _require_sight(self, snapshot: Path) -> None:
        seen = self.client.run(os.path.isfile, str(snapshot))
        for worker, sees in seen.items():
            if not sees:
                raise EngineError(
                    f"The Dask worker at {worker} does not see {snapshot}. The folder of the runs "
                    "has to be on a disk that all workers see under the same path; name it by "
                    "--runs or EM_IMPUTE_RUNS."
                )


@dataclass(frozen=True)
class Kept:
    """Objects that lie on workers, in their order."""

    workers: Workers
    futures: Sequence[Future[Any]]

    def map(self, function: Callable[[Any], Result]) -> list[Result]:
        """What `function` returns for each, brought here."""
        return list(self.workers.results(self.workers.begun(function, self.futures)))

    def turned(self, function: Callable[[Any], Any]) -> Kept:
        """What `function` returns for each, left where it is; the objects themselves are let go."""
        turned = Kept(self.workers, self.workers.begun(function, self.futures))
        for future in self.futures:
            future.release()
        return turned


@contextmanager
def opened(engine: EngineOptions) -> Iterator[Workers | None]:
    """The workers of a job's engine while they are needed; None if the process works alone.

    Raises
    ------
    EngineError
        If Dask is not installed, its scheduler does not answer or has no workers, or a worker has
        another version of em_impute.
    """
    if engine.name == "local":
        yield None
        return
    try:
        import distributed
    except ImportError:
        raise EngineError(
            "`engine: dask` needs Dask, which is not installed; install it with "
            "`pip install 'em-impute[dask]'`."
        ) from None
    address = os.environ.get(ADDRESS)
    if engine.workers or not address:
        with (
            distributed.LocalCluster(
                n_workers=engine.workers,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs="ERROR",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield Workers(client)
        return
    try:
        client = distributed.Client(address, timeout=PATIENCE)
    except (OSError, TimeoutError):
        raise EngineError(
            f"Dask's scheduler at {address} does not answer. Is it running, and is this its "
            f"address? {ADDRESS} names it; engine.workers asks for processes on this machine."
        ) from None
    with client:
        _require_workers(client, address)
        yield Workers(client)


def _require_workers(client: Client, address: str) -> None:
    """Raise an error unless there are workers, each with the version of em_impute that is here."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise EngineError(
            f"Dask's scheduler at {address} has no worker; start some by `dask worker {address}`."
        ) from None

    def installed() -> str:
        # A function within one is sent by value, so that workers without em_impute answer, too.
        try:
            return metadata.version("em-impute")
        except metadata.PackageNotFoundError:
            return ""

    here = installed()
    for worker, there in client.run(installed).items():
        if there != here:
            has = f"em_impute {there}" if there else "no em_impute"
            raise EngineError(
                f"The Dask worker at {worker} has {has}, and here is {here}; install the same "
                "version on all of them."
            )


def _alone(function: Callable[[Part], Any], part: Part) -> Any:
    """Work on a part in one thread: the workers take all cores."""
    with at_most(1):
        return function(part)
