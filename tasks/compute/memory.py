"""Memory of this process: its peak, as the system counted it, and what it may take."""

import contextlib
from pathlib import Path


def forget_peak() -> None:
    """Let the peak begin anew from what is held now; where the system does not let us, it stays that so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Most bytes of memory that this process has held since `forget_peak` (VmHWM); None where the system is silent.

    Not `getrusage`: its peak takes over that of the process which started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def memory_limit(asked: str | None) -> int:
    """Bytes: what is asked for, such as '4GB'; else half of what the machine (or the container) has."""
    from dask.utils import parse_bytes
    from distributed.system import MEMORY_LIMIT

    return int(parse_bytes(asked)) if asked else MEMORY_LIMIT // 2
