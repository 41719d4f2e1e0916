"""Peak memory, as the system counted it."""

from pathlib import Path


def peak_memory() -> int | None:
    """Most bytes of memory that this process has held so far (VmHWM); None where the system does not say.

    Not `getrusage`: its peak takes over that of the process which started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
