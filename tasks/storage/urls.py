"""URLs and the small control objects behind them, on a disk or on any fsspec store.

Control objects (manifests, receipts) are read past every listing cache: a second process may have written them a
moment ago. On S3 a create is one conditional PUT (``If-None-Match: *``); on a disk it is a finished file linked into
place, so that no reader ever meets half of it.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec import AbstractFileSystem

from pumascale.tasks.storage import disk, s3
from pumascale.tasks.storage.errors import InputError

USER = re.compile(r"^.*://[^/:@\[]*:(?!:|\d*(/|$))")  # a colon before the first slash that is no port's
SIGNED = re.compile(r"^[^?]*\?(?=(.*&)?(x-amz-signature|x-goog-signature|signature|sig)=)", re.IGNORECASE)  # presigned
WRITTEN = ("ETag", "etag", "mtime", "LastModified", "last_modified", "modified", "created")  # names of it in fsspec


@dataclass(frozen=True)
class ObjectInfo:
    """Size in bytes, and what changes when the object does (its ETag or time of writing; empty where nobody says)."""

    size: int
    etag: str


def is_local(url: str) -> bool:
    """Whether `url` names a place on this machine's disk."""
    return "://" not in url or url.startswith("file://")


def is_s3(url: str) -> bool:
    """Whether `url` is on S3 or a server that speaks its protocol."""
    return url.startswith(("s3://", "s3a://"))


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://")).expanduser().absolute()


def _file_name(url: str) -> str:
    """As `local_path`, good for opening a file; a Path takes as long to make as the file to open."""
    return os.path.expanduser(url.removeprefix("file://"))


def check_secret(url: str) -> None:
    """Refuse a URL with a password or a signature: URLs are written into manifests, reports and the runs' pages."""
    if found := USER.match(url) or SIGNED.match(url):
        raise InputError(
            f"{found[0]}*** came with a secret in the URL, and URLs are written into manifests and reports. Expected "
            "it without: the secret belongs into the environment, a profile, or a block (deployments/credentials.py)."
        )


def absolute(url: str) -> str:
    """`url` as one that means the same in every process: local paths made absolute, no slash at the end."""
    check_secret(url)
    return str(local_path(url)) if is_local(url) else url.rstrip("/")


def join(url: str, *parts: str) -> str:
    """`url` with `parts` below it."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def storage_options(url: str) -> dict[str, Any]:
    """What opens `url`; never a secret, since the options travel to Dask workers (credentials: the environment)."""
    check_secret(url)
    return s3.options() if is_s3(url) else {}


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of `url` and the path in it, for control objects."""
    target = str(local_path(url)) if is_local(url) else url
    fs, path = fsspec.core.url_to_fs(target, **storage_options(url))
    return fs, path


def read_bytes(url: str) -> bytes | None:
    """The object's bytes; None where there is none."""
    try:
        if is_local(url):
            with open(_file_name(url), "rb") as file:
                return file.read()
        fs, path = filesystem(url)
        return bytes(fs.cat_file(path))
    except (FileNotFoundError, NotADirectoryError):  # the second where a folder of the URL is a file
        return None


def write_bytes(url: str, data: bytes) -> None:
    """Write the object whole, over an older one."""
    if is_local(url):
        disk.write(local_path(url), data)
    else:
        fs, path = filesystem(url)
        fs.pipe_file(path, data)


def write_large(url: str, data: bytes | bytearray | memoryview) -> None:
    """Write an object whole, not waiting for the disk: it counts only once a receipt lies behind it."""
    if is_local(url):
        disk.write(local_path(url), data, is_safe=False)
    else:
        fs, path = filesystem(url)
        fs.pipe_file(path, bytes(data))


def read_range(url: str, start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of an object."""
    if is_local(url):  # thousands of them in a graph, and fsspec takes twice as long to find its file system
        with open(_file_name(url), "rb") as file:
            file.seek(start)
            return file.read(stop - start)
    fs, path = filesystem(url)
    return bytes(fs.cat_file(path, start=start, end=stop))


def map_range(url: str, start: int, stop: int) -> Any:
    """As `read_range`, as a buffer: of a file on a disk only the pages that are looked at are read."""
    if is_local(url) and stop > start:
        return np.memmap(_file_name(url), np.uint8, "r", start, (stop - start,)).data
    return read_range(url, start, stop) if stop > start else b""


def read_tail(url: str, size: int) -> bytes:
    """The last `size` bytes of an object, all of a smaller one."""
    if is_local(url):
        with open(_file_name(url), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read()
    fs, path = filesystem(url)
    return bytes(fs.cat_file(path, start=-size))


def upload_file(file: Path, url: str) -> None:
    """Copy the local `file` to `url`, whole: a reader meets all of it or nothing."""
    if is_local(url):
        disk.copy(file, local_path(url))
    else:
        fs, path = filesystem(url)
        fs.put_file(str(file), path)


def create_bytes(url: str, data: bytes) -> bool:
    """Write the object only where there is none.

    Returns
    -------
    bool
        False when something is there already (which may be this very write, its first answer lost: read it back).
    """
    return disk.create(local_path(url), data) if is_local(url) else _create_remote(url, data)


def _create_remote(url: str, data: bytes) -> bool:
    fs, path = filesystem(url)
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if _is_conflict(error):
            return False
        raise
    return True


def _is_conflict(error: OSError) -> bool:
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") in {"PreconditionFailed", "412"}


def list_objects(url: str) -> dict[str, ObjectInfo]:
    """Every object below `url`, by its path relative to it; unfinished files of a disk and S3's folders are none."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        found = fs.find(path, detail=True)
    except FileNotFoundError:
        return {}
    prefix = path.rstrip("/") + "/"
    below = {name.removeprefix(prefix): entry for name, entry in found.items() if name.startswith(prefix)}
    return {name: _info(entry) for name, entry in below.items() if not (_is_folder(name) or disk.is_part(name))}


def _is_folder(name: str) -> bool:
    """Whether it is the empty object by which S3's consoles show `url` itself, or a folder below it."""
    return name == "" or name.endswith("/")


def object_info(url: str) -> ObjectInfo:
    """Size and ETag of one object; FileNotFoundError where there is none."""
    fs, path = filesystem(url)
    return _info(fs.info(path))


def is_object(url: str) -> bool:
    """Whether there is an object at `url`."""
    fs, path = filesystem(url)
    return bool(fs.isfile(path))


def _info(entry: dict[str, Any]) -> ObjectInfo:
    etag = next((entry[name] for name in WRITTEN if entry.get(name)), "")
    return ObjectInfo(int(entry.get("size") or 0), str(etag).strip('"'))


def remove_object(url: str) -> None:
    """Remove one object; one that is gone already is fine."""
    fs, path = filesystem(url)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def remove_tree(url: str) -> None:
    """Remove everything below `url`; nothing there is fine."""
    if is_local(url) and not local_path(url).exists():
        return
    fs, path = filesystem(url)
    fs.invalidate_cache()
    if fs.exists(path):
        fs.rm(path, recursive=True)


def remove_forsaken_parts(url: str) -> None:
    """Remove the unfinished files in the folder `url` that nobody has written to for a minute."""
    if is_local(url):
        disk.remove_forsaken(local_path(url).glob(".*"))


def remove_parts(url: str, shared: str) -> None:
    """Remove the unfinished files below `url` that killed runs left on a disk.

    Parameters
    ----------
    shared : str
        Name of the only object there that others may be writing now: what is unfinished of it goes after a minute.
    """
    if is_local(url):
        disk.remove_parts(local_path(url), shared)
