# mypy: disable-error-code="no-untyped-call"
"""The rooms' log records, from the worker processes to the loggers of this one."""

import logging

from distributed import Client, WorkerPlugin

LOGGER = "pumascale"


class RoomLogLevel(WorkerPlugin):
    """Lets INFO through in each worker, also in one that joins later; Python's default stops it."""

    def setup(self, worker: object) -> None:
        """Called in the worker process."""
        logging.getLogger(LOGGER).setLevel(logging.INFO)


def forward_logs(client: Client) -> None:
    """From now on the workers' records of 'pumascale' and its children reach the loggers of the same names here."""
    client.register_plugin(RoomLogLevel(), name="pumascale-log-level")
    client.forward_logging(LOGGER, level=logging.INFO)
