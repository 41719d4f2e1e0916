"""Task functions: module-level, as Dask's worker processes want them."""

import logging
import os
import signal
import time
from pathlib import Path

from pumascale.tasks.storage.errors import InputError


def square(value: int) -> int:
    """A small task."""
    return value * value


def span(seconds: float) -> tuple[float, float]:
    """Work for some time; when it began and when it ended."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def wait_for(path: str) -> str:
    """Return once the file is there; at once for an empty path."""
    while path and not Path(path).exists():
        time.sleep(0.01)
    return path


def die_once(path: str) -> str:
    """Kill the worker process at the first attempt, succeed at the second."""
    if path and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def die(_: int) -> None:
    """Kill the worker process at every attempt."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail_at_zero(item: tuple[int, str]) -> None:
    """Leave a mark; item 0 fails instead."""
    number, folder = item
    if number == 0:
        raise InputError("item 0 is bad")
    time.sleep(0.02)
    Path(folder, str(number)).touch()


def log(message: str) -> int:
    """Log as a room does, and give the process id."""
    logging.getLogger("pumascale.graph").info(message)
    return os.getpid()


def environment(name: str) -> str | None:
    """An environment variable of the worker."""
    return os.environ.get(name)
