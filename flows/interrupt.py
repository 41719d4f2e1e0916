"""Ctrl-C ends a run in any case, and what is finished stays.

A KeyboardInterrupt unwinds the run as Prefect and Dask expect it. But one that comes inside a library's callback may be
swallowed there, and a process in the background of a script is deaf to the signal from its start. So the handler is
always this one, it asks again for an interrupt that led to nothing, and at last it ends every process of the run.
"""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

PATIENCE_SECONDS = 20.0  # unwinding takes 4 to 15: a cluster is closed, and the server told how the run ended
CODE = 130
REASON = "Stopped. What is finished stays, and the same command goes on from there."

asked = threading.Event()


def listen() -> None:
    """Take over the signal; in the main thread."""
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if not asked.is_set():
        asked.set()
        threading.Thread(target=_insist, daemon=True).start()
    raise KeyboardInterrupt


def _insist() -> None:
    logging.getLogger("pumascale").info("stopping")
    time.sleep(PATIENCE_SECONDS)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(PATIENCE_SECONDS)
    _end_all()


def _end_all() -> None:
    """End this process and all that it started, as by a kill: a later run goes on from what is finished."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    print(f"pumascale: {REASON}", file=sys.stderr, flush=True)
    os._exit(CODE)
