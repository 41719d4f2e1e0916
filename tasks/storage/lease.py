"""A lease: of two runs that want one place made, one works and the other waits for its result.

Never truth, which is the commit's alone: it only spares double work, and spares a run the scratch of another. A run
that is gone on this machine is seen to be gone at once; one on another machine, when its lease has not changed for a
minute. No two clocks are compared.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from botocore.exceptions import BotoCoreError

from pumascale.tasks.storage import manifests, urls

logger = logging.getLogger("pumascale")

LEASE = "lease.json"
BOOT = Path("/proc/sys/kernel/random/boot_id")
BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
LOOK_SECONDS = 1.0


class LeaseLostError(RuntimeError):
    """Another run has taken the place over from this one, which stood still for longer than a lease lasts."""


@contextmanager
def held(place: str) -> Iterator[None]:
    """Inside, nobody else works on `place`; who comes later waits here until that is over.

    Parameters
    ----------
    place : str
        URL of a graph, a model or an embedding in the making.
    """
    url, mine = urls.join(place, LEASE), _here() | {"token": secrets.token_hex(16)}
    _take(place, url, mine)
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(url, mine, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        with suppress(OSError, BotoCoreError):  # what ended the work is what has to be said
            if _is_ours(_read(url), mine):
                urls.remove_object(url)


def check_held(place: str) -> None:
    """Ask, before something at `place` is written over, whether that is still this run's to do.

    Raises
    ------
    LeaseLostError
        When another run works on it, or has finished it.
    """
    found, here = _read(urls.join(place, LEASE)), _here()
    if manifests.read_manifest(place) is not None or (found and any(found.get(name) != here[name] for name in here)):
        raise LeaseLostError(f"{place} was taken over by another run while this one stood still.")


def _take(place: str, url: str, mine: dict[str, Any]) -> None:
    """Create the lease, or take it over from a run that is gone."""
    seen, since = None, 0.0
    while not urls.create_bytes(url, _encode(mine)) and not _is_ours(found := _read(url), mine):
        if seen is None and found and not _is_gone(found):
            logger.info("%s is made by process %d on %s: waiting for it", place, found["pid"], found["host"])
        if found != seen:
            seen, since = found, time.monotonic()
        if found and (_is_gone(found) or time.monotonic() - since > STALE_SECONDS):
            urls.write_bytes(url, _encode(mine))  # another may do the same: who wrote last has it, after a look
        time.sleep(LOOK_SECONDS)


def _beat(url: str, mine: dict[str, Any], ended: threading.Event) -> None:
    """Show every few seconds that this run lives."""
    n_beats = 0
    while not ended.wait(BEAT_SECONDS):
        n_beats += 1
        with suppress(OSError, BotoCoreError):  # a store that is away: the work itself waits for it, or says so
            if _is_ours(_read(url), mine):
                urls.write_bytes(url, _encode(mine | {"beats": n_beats}))


def _here() -> dict[str, Any]:
    """This process, and where its id means this process: the machine or the container."""
    space = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    boot = BOOT.read_text().strip() if BOOT.exists() else ""  # of two machines the first space has the same number
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": boot, "space": space, "pid": pid, "started": _started(pid)}


def _started(pid: int) -> float:
    """When the process began: counted from the machine's start where the system says so, since clocks are set."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return float(psutil.Process(pid).create_time())


def _is_gone(lease: dict[str, Any]) -> bool:
    """Whether its run was here and has ended."""
    here = _here()
    if any(lease.get(name) != here[name] for name in ("host", "boot", "space")):
        return False
    try:
        pid = lease["pid"]
        return bool(_started(pid) != lease["started"] or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _is_ours(lease: dict[str, Any] | None, mine: dict[str, Any]) -> bool:
    return lease is not None and lease["token"] == mine["token"]


def _encode(lease: dict[str, Any]) -> bytes:
    return json.dumps(lease).encode()


def _read(url: str) -> dict[str, Any] | None:
    data = urls.read_bytes(url)
    return None if data is None else dict(json.loads(data))
