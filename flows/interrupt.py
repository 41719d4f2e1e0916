"""Ctrl-C and SIGTERM end a run in any case, and what is finished stays.

A KeyboardInterrupt unwinds the run as Prefect and Dask expect it. But one that comes inside a library's callback may be
swallowed there, and a process in the background of a script is deaf to Ctrl-C from its start. So the handler is always
this one, it asks again for an interrupt that led to nothing, and at last it ends every process of the run.

SIGTERM, of `timeout`, systemd or `docker stop`, would end Python at once and leave Prefect's server behind. Inside a
flow Prefect has a handler for it, and a training one that saves a checkpoint before; both hand the signal on to this
one. `timeout` ends the server too, for which Prefect's client then waits for minutes: so a thread listens as well.
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
REASON = "Stopped. What is finished stays, and the same command goes on from there."
SIGNALS = (signal.SIGINT, signal.SIGTERM)

asked = threading.Event()
said = threading.Event()  # the reason; what Python does at its end may take too long too
_came: list[int] = []


def listen() -> None:
    """Take over the signals; in the main thread."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    there, here = os.pipe()
    os.set_blocking(here, False)
    signal.set_wakeup_fd(here, warn_on_full_buffer=False)  # a byte for every signal, whoever handles it
    threading.Thread(target=_hear, args=(there,), daemon=True).start()


def code() -> int:
    """The exit code of a run that was ended, as a shell has it."""
    return 128 + _came[0]


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _came.append(number)  # before the thread may have heard it
    asked.set()
    raise KeyboardInterrupt


def _hear(there: int) -> None:
    while (number := os.read(there, 1)[0]) not in SIGNALS:
        pass
    _came.append(number)
    asked.set()
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
    if not said.is_set():
        print(f"pumascale: {REASON}", file=sys.stderr, flush=True)
    os._exit(code())
