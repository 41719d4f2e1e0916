"""Chunk objects of an array, its shards or chunks: rows, names, and the error that says which one is lost or broken."""

import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from itertools import product
from lzma import LZMAError
from math import prod
from typing import Any

import zarr

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError

Region = tuple[slice, ...]

BLOCK_BYTES = 64 * 2**20  # of rows that are read at once, as float32

REMEDY = "Restore it, or write these rows again (with write_empty_chunks=True where they hold nothing but fill values)."

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


def objects(array: zarr.Array[Any], start: int = 0, stop: int | None = None) -> Iterator[tuple[str, Region]]:
    """Name of every object that holds a value of rows `start` to `stop`, and where in the array these values are."""
    begins, ends = (start, *[0] * array.ndim), array.shape if stop is None else (stop, *array.shape[1:])
    axes = [_cut(*axis) for axis in zip(begins, ends, array.shards or array.chunks, strict=False)]
    for parts in product(*axes):
        yield array.metadata.encode_chunk_key(tuple(key for key, _ in parts)), tuple(part for _, part in parts)


def _cut(begin: int, end: int, step: int) -> list[tuple[int, slice]]:
    """An axis from `begin` to `end`, cut at the multiples of `step`."""
    keys = range(begin // step, -(-end // step))
    return [(key, slice(max(begin, key * step), min(end, (key + 1) * step))) for key in keys]


def check_all(array: zarr.Array[Any], found: Container[str]) -> None:
    """Refuse an array of which an object is not among those `found`."""
    for name, region in objects(array):
        if name not in found:
            raise InputError(f"{_describe(array, name, region)} is lost. {REMEDY}")


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
    for name, region in objects(array, start, stop):
        try:
            array[region]
        except Exception as reason:
            if not _is_damage(reason):
                raise
            return InputError(
                f"{_describe(array, name, region)} cannot be read: {type(reason).__name__}: {reason}. The object is "
                f"lost or damaged. {REMEDY}"
            )
    return InputError(f"Rows {start} to {stop} of {array.store_path} cannot be read: {error}. Try again.")


def _describe(array: zarr.Array[Any], name: str, region: Region) -> str:
    """URL of the object `name`, and the rows that it holds a value of."""
    store: Any = array.store
    root = store.fs.unstrip_protocol(store.path) if hasattr(store, "fs") else str(getattr(store, "root", store))
    low = region[0].start // object_rows(array) * object_rows(array)
    rows = f"rows {low} to {min(low + object_rows(array), array.shape[0])}"
    return f"{urls.join(root, *filter(None, (array.path, name)))} ({rows})"
