"""The log of a run's page: what the rooms and Dask say while a stage runs, as lines of the stage's task."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from prefect.context import TaskRunContext
from prefect.logging.handlers import APILogHandler

ROOMS = logging.getLogger("pumascale")
DASK = logging.getLogger("distributed")


class TaskLog(APILogHandler):
    """Sends records to the task run in which it was made, from whichever thread they come.

    Prefect's own handler asks the thread which run it is in. Records from Dask workers arrive on a thread of Dask's, in
    none, and are dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._context, self._task = copy_context(), TaskRunContext.get()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, unless it is from a thread in which another task runs."""
        if TaskRunContext.get() in (None, self._task):
            self._context.copy().run(super().emit, record)


@contextmanager
def on_the_run_page() -> Iterator[None]:
    """Inside a Prefect task: the rooms' records, INFO too, and Dask's warnings are on its run's page until the exit."""
    if TaskRunContext.get() is None:
        yield
        return
    handler, level = TaskLog(), ROOMS.level
    # Python's default level stops INFO; one that somebody has set stays.
    ROOMS.setLevel(level or logging.INFO)
    for logger in (ROOMS, DASK):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in (ROOMS, DASK):
            logger.removeHandler(handler)
        ROOMS.setLevel(level)
