"""How a command runs on the console: progress on stderr, the manifest on the last line, an error in one line."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from pumascale.flows import interrupt

Result = TypeVar("Result")


def run(work: Callable[[], dict[str, Any]], shown: str | None = None) -> None:
    """Do the work and print its manifest on the last line, before it the one value that is asked for most."""
    quiet()
    manifest = finished(work)
    if shown:
        print(manifest[shown])
    print(json.dumps(manifest))


def finished(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The manifest of a flow that is run to its end, beside Prefect's server."""
    attempt(_start_server)
    manifest = attempt(work)
    gc.freeze()  # else the interpreter, at its end, looks for garbage among all of TensorFlow: 2 s
    return manifest


def _start_server() -> None:
    """Start Prefect's own server, deaf to Ctrl-C, where no other one is set.

    Ctrl-C reaches every process of a terminal, and it is this server that has to be told how the run ended.
    """
    logging.getLogger("pumascale").info("starting")  # it takes some ten seconds, and the workers after it
    from prefect.client.orchestration import get_client

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a process that is started takes it over
    try:
        with get_client(sync_client=True) as client:
            reason = client.api_healthcheck()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _check_answer(reason)
    _end_with_us()


def _check_answer(reason: Exception | None) -> None:
    """Refuse a server that somebody named and that does not answer."""
    from prefect.settings import PREFECT_API_URL

    from pumascale.tasks.storage.errors import InputError

    if reason is not None and PREFECT_API_URL.value():
        raise InputError(
            f"The Prefect server at PREFECT_API_URL={PREFECT_API_URL.value()} does not answer "
            f"({type(reason).__name__}: {reason}). Expected a running server: start it, correct the variable (or the "
            "profile of Prefect that sets it), or unset it for a server of this command's own."
        )


def _end_with_us() -> None:
    """Have the server end with this process, even where a kill leaves it no time: a pipe to a shell is closed then."""
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer().server_process  # None where another server is used
    if server is not None:
        watch = ["sh", "-c", f"read -r _; kill {server.pid} 2>/dev/null"]
        subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)


def attempt(work: Callable[[], Result]) -> Result:
    """What `work` gives; where it fails, the reason in one line and the end."""
    from pumascale.tasks.storage.errors import InputError

    try:
        result = work()
    except Exception as error:
        if interrupt.asked.is_set():  # and somebody made another error of it
            raise KeyboardInterrupt from error
        if "PUMASCALE_TRACEBACK" in os.environ:
            raise
        if isinstance(error, InputError):
            fail(str(error))
        fail(f"{type(error).__name__}: {error} (set PUMASCALE_TRACEBACK=1 for the whole story)")
    if interrupt.asked.is_set():  # and somebody swallowed it
        raise KeyboardInterrupt
    return result


def fail(reason: str, code: int = 1) -> NoReturn:
    """End with the reason in one line."""
    print("pumascale: " + " ".join(reason.split()), file=sys.stderr)
    sys.exit(code)


def quiet() -> None:
    """Our own progress on stderr, and nobody else's.

    TensorFlow's C++ side writes to the file descriptor before any setting can stop it, so the descriptor goes to the
    null device and our handler, like Python's own stderr, to a copy of what it was.
    """
    if "PUMASCALE_TRACEBACK" not in os.environ:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("pumascale")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # Dask's warnings are on the run's page; that a worker was lost is said by ours.
    logging.getLogger("distributed").addHandler(logging.NullHandler())
    logging.getLogger("distributed").propagate = False
