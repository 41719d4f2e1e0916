"""What makes two requests the same: the data, the parameters and the algorithm's version.

The source's fingerprint covers the data and not only its address: shape, dtype, chunks, and size and ETag (on a disk
size and time of writing) of every chunk object. The data itself is not read.
"""

import hashlib
import json
from typing import Any

from pumascale.tasks.storage import sources, urls
from pumascale.tasks.storage.errors import InputError

# Raise it when the stores' schema or an algorithm changes: old places are then left alone and made anew.
VERSION = 9


def fingerprint_source(url: str) -> str:
    """A hash of the array at `url` that changes when its data does."""
    array = sources.open_source(url)
    return digest([array.shape, str(array.dtype), array.chunks, array.shards, fingerprint_tree(url)])


def fingerprint_tree(url: str) -> str:
    """A hash of the names, sizes and ETags of every object below `url`.

    Raises
    ------
    InputError
        When the store tells of none, or not when they were written, as over HTTP: changed data would look the same.
    """
    found = urls.list_objects(url)
    if not found or not all(info.etag for info in found.values()):
        raise InputError(
            f"The store of {url} does not tell which objects lie there, with their ETags or times of writing, so "
            "changed data would not be noticed. Expected a disk, S3 or another store that does: copy it there."
        )
    return digest(sorted((name, info.size, info.etag) for name, info in found.items()))


def request_id(kind: str, **parts: Any) -> str:
    """A short hash that names the place of a request: the same request finds the same place."""
    return digest([VERSION, kind, parts])[:16]


def digest(content: Any) -> str:
    """A hash of what can be written as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
