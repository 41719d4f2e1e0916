"""Chunk objects of an array, its shards or chunks: rows, names, and the error that says which one is lost or broken."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from lzma import LZMAError
from math import prod
from typing import Any

import zarr

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError

BLOCK_BYTES = 64 * 2**20  # of rows that are read at once, as float32

# Codec by codec.
DAMAGED = (FileNotFoundError, ValueError, RuntimeError, KeyError, EOFError, zlib.error, LZMAError, BadGzipFile)


def object_rows(array: zarr.Array[Any]) -> int:
    """Rows of each object (shard or chunk) of `array`."""
    return int((array.shards or array.chunks)[0])


def block_rows(array: zarr.Array[Any]) -> int:
    """Rows to read at once: whole objects of `array`, as many as fit 64 MB; of a larger one whole chunks.

    A shard that is wanted whole comes in one request, and one that is cut in a request per chunk. A chunk that is cut
    is decoded whole for each of its parts.
    """
    most = BLOCK_BYTES // (4 * prod(array.shape[1:]))
    unit = object_rows(array) if object_rows(array) <= most else int(array.chunks[0])
    return unit * max(1, most // unit)


def object_name(array: zarr.Array[Any], row: int) -> str:
    """Name, relative to the array's URL, of the first object (shard or chunk) that holds row `row`."""
    grid = array.shards or array.chunks
    return array.metadata.encode_chunk_key((row // grid[0], *(0 for _ in grid[1:])))


@contextmanager
def naming_chunks(array: zarr.Array[Any], start: int, stop: int) -> Iterator[None]:
    """Inside, what a lost or damaged chunk raises becomes an error that names it; the store's own errors pass."""
    try:
        yield
    except Exception as error:
        if _is_damage(error):
            raise _broken_chunk(array, start, stop, error) from error
        raise


def _is_damage(error: Exception) -> bool:
    return isinstance(error, DAMAGED) or (type(error) is OSError and error.errno is None)  # the latter is bz2's


def _broken_chunk(array: zarr.Array[Any], start: int, stop: int, error: Exception) -> InputError:
    """The first of the objects under rows `start` to `stop` that cannot be read, found by reading them one by one."""
    step = int((array.shards or array.chunks)[0])
    for low in range(start // step * step, stop, step):
        first, last = max(low, start), min(low + step, stop)
        try:
            array[first:last]
        except Exception as reason:
            if not _is_damage(reason):
                raise
            url = _object_url(array, low)
            return InputError(
                f"{url} (rows {low} to {min(low + step, array.shape[0])}) cannot be read: {type(reason).__name__}: "
                f"{reason}. The object is lost or damaged: restore it, or write these rows again "
                "(with write_empty_chunks=True where they hold nothing but fill values)."
            )
    return InputError(f"Rows {start} to {stop} of {array.store_path} cannot be read: {error}. Try again.")


def _object_url(array: zarr.Array[Any], row: int) -> str:
    """URL of the first object that holds row `row`."""
    store: Any = array.store
    root = store.fs.unstrip_protocol(store.path) if hasattr(store, "fs") else str(getattr(store, "root", store))
    return urls.join(root, *filter(None, (array.path, object_name(array, row))))
