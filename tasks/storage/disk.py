"""Files of a disk: made whole beside their place and then named, so that no reader ever meets half of one.

What a killed writer leaves, Zarr's as well as ours, is the file that would have been renamed when it was whole: a part.
"""

import contextlib
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

PART = re.compile(r"\.[0-9a-f]{12,32}\.part(ial)?$")
FORSAKEN_SECONDS = 60.0


def is_part(name: str) -> bool:
    """Whether a file of this name is unfinished."""
    return PART.search(name) is not None


def write(path: Path, data: bytes | bytearray | memoryview, *, is_safe: bool = True) -> None:
    """Write the file, over an older one; a safe one is on the disk when this returns."""
    with _part_of(path) as part:
        _fill(part, data, is_safe=is_safe)
        os.replace(part, path)


def create(path: Path, data: bytes) -> bool:
    """Write the file where there is none; False where there is one."""
    with _part_of(path) as part:
        _fill(part, data)
        try:
            os.link(part, path)  # fails where the name is taken, unlike rename
        except FileExistsError:
            return False
    return True


def copy(file: Path, path: Path) -> None:
    """Copy a file, over an older one; what killed copies of it left goes before."""
    with _part_of(path) as part:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_forsaken(path.parent.glob(f".{glob.escape(path.name)}.*"))
        shutil.copyfile(file, part)
        os.replace(part, path)


@contextlib.contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """A file to make whole beside `path` and to give its name; what is left of it at the end goes."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _fill(part: Path, data: bytes | bytearray | memoryview, *, is_safe: bool = True) -> None:
    with _opened(part) as file:
        file.write(data)
        file.flush()
        if is_safe:
            os.fsync(file.fileno())


def _opened(part: Path) -> BinaryIO:
    try:
        return part.open("wb")
    except FileNotFoundError:
        part.parent.mkdir(parents=True, exist_ok=True)
        return part.open("wb")


def remove_forsaken(paths: Iterable[Path]) -> None:
    """Remove those of `paths` that are unfinished and that nobody has written to for a minute."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if is_part(path.name) and time.time() - path.stat().st_mtime > FORSAKEN_SECONDS:
                path.unlink()


def remove_parts(folder: Path, shared: str) -> None:
    """Remove every unfinished file below `folder`, where nobody may be writing but to `shared`: its parts go by age."""
    for path in folder.rglob("*"):
        if path.name.startswith(f".{shared}."):
            remove_forsaken([path])
        elif is_part(path.name):
            path.unlink(missing_ok=True)
