# mypy: disable-error-code="no-untyped-call"
"""Log records of the worker processes, and the loss of one of them, in the loggers of this process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, WorkerPlugin

LOGGER = "pumascale"


class RoomLogLevel(WorkerPlugin):
    """Lets INFO through in each worker, also in one that joins later; Python's default stops it."""

    def setup(self, worker: object) -> None:
        """Called in the worker process."""
        logging.getLogger(LOGGER).setLevel(logging.INFO)


@contextmanager
def forwarded_logs(client: Client) -> Iterator[None]:
    """The workers' records of 'pumascale' and Dask's warnings reach the loggers of the same names here."""
    client.register_plugin(RoomLogLevel(), name="pumascale-log-level")
    client.forward_logging(LOGGER, level=logging.INFO)
    client.forward_logging("distributed", level=logging.WARNING)
    # A worker that is killed says nothing itself, and a scheduler elsewhere writes it into a log elsewhere.
    client.subscribe_topic("all", _warn_of_loss)
    try:
        yield
    finally:
        # Else the scheduler still tells this client that it goes, and finds it gone.
        client.unsubscribe_topic("all")


def _warn_of_loss(event: tuple[float, dict[str, Any]]) -> None:
    said = event[1]
    if said["action"] == "remove-worker" and not said["expected"] and said["processing-tasks"]:
        message = "The Dask worker %s was lost, and %d tasks that it was at are done again"
        logging.getLogger(LOGGER).warning(message, said["worker"], len(said["processing-tasks"]))
