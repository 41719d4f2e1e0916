"""Zarr arrays: opening with every lost chunk an error, creating in whole shards, rows in blocks.

One task writes whole shards: Zarr has no locks, and two writers within one shard lose rows without a word.
"""

import math
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec

from pumascale.tasks.storage import chunk_objects, urls, whole
from pumascale.tasks.storage.chunk_objects import naming_chunks
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.halves import converted

SHARD_BYTES = 32 * 2**20
CHUNK_BYTES = 256 * 2**10

# A lost object must be an error and never a row of fill values; older Zarr lacks the switch, so all are looked for.
_HAS_MISSING_SWITCH = "read_missing_chunks" in zarr.config.get("array")
_READ_CONFIG: Any = {"read_missing_chunks": False} if _HAS_MISSING_SWITCH else None
_WRITE_CONFIG: Any = {"write_empty_chunks": True}


def _address(url: str) -> dict[str, Any]:
    """What `zarr.open_*` needs to find `url`."""
    if urls.is_local(url):
        return {"store": str(urls.local_path(url))}
    return {"store": url, "storage_options": urls.storage_options(url)}


def open_array(url: str) -> zarr.Array[Any]:
    """Open an array for reading; reading a chunk that is not there raises instead of giving fill values."""
    array = zarr.open_array(**_address(url), mode="r", config=_READ_CONFIG)
    if not _HAS_MISSING_SWITCH:
        chunk_objects.check_all(array, urls.list_objects(url))
    return array


def open_filled(url: str) -> zarr.Array[Any]:
    """Open an array for reading; a chunk that is not there reads as fill values."""
    return zarr.open_array(**_address(url), mode="r")


def open_writable(url: str) -> zarr.Array[Any]:
    """Open an array for writing whole shards, chunks of fill values included."""
    with zarr.config.set({"array.write_empty_chunks": True}):  # older Zarr looks here only when it opens an array
        return zarr.open_array(**_address(url), mode="r+", config=_WRITE_CONFIG)


def open_group(url: str, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """Open a group that is there, by what lies in it now rather than by a summary of it."""
    return zarr.open_group(**_address(url), mode=mode, use_consolidated=False)


def consolidate_again(url: str) -> None:
    """Renew the summary of a group's members, where it has one: readers would not see what was added."""
    group = zarr.open_group(**_address(url), mode="r+")
    if group.metadata.consolidated_metadata is not None:
        zarr.consolidate_metadata(group.store, path=group.path, zarr_format=group.metadata.zarr_format)


def create_group(url: str, attributes: dict[str, Any] | None = None) -> zarr.Group:
    """Create a group, or open the one that an earlier run created."""
    return zarr.open_group(**_address(url), mode="a", zarr_format=3, attributes=attributes)


def shard_rows(row_nbytes: int, n_rows: int) -> int:
    """Rows per shard: 32 MB of them, a multiple of the rows per chunk, at most the array."""
    chunk = chunk_rows(row_nbytes, n_rows)
    return chunk * min(max(1, SHARD_BYTES // (chunk * row_nbytes)), -(-n_rows // chunk))


def chunk_rows(row_nbytes: int, n_rows: int) -> int:
    """Rows per inner chunk: 256 KiB of them, at least one, at most the array."""
    return max(1, min(CHUNK_BYTES // max(1, row_nbytes), n_rows))


def create_array(
    url: str,
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    dimension_names: tuple[str, ...] | None = None,
    attributes: dict[str, Any] | None = None,
    fill_value: float = 0,
    shard_rows: int | None = None,
) -> zarr.Array[Any]:
    """Create an array in shards along axis 0; the same call again opens what the first one made.

    Parameters
    ----------
    shape : tuple of int
        (n_rows, *row_shape); rows are never split.
    shard_rows : int, optional
        Rows per shard; by default about 32 MB of them.

    Raises
    ------
    InputError
        When another array is there.
    """
    try:
        return _opened_same(url, shape, np.dtype(dtype))
    except (FileNotFoundError, zarr.errors.ArrayNotFoundError):
        pass
    row_nbytes = int(np.dtype(dtype).itemsize * math.prod(shape[1:]))
    chunk, shard = _geometry(row_nbytes, max(1, shape[0]), shard_rows)
    return zarr.create_array(
        **_address(url),
        shape=shape,
        dtype=np.dtype(dtype),
        chunks=(chunk, *(max(1, size) for size in shape[1:])),
        shards=(shard, *(max(1, size) for size in shape[1:])),
        compressors=BloscCodec(**compressor(dtype)),
        fill_value=fill_value,
        dimension_names=dimension_names,
        attributes=attributes,
        config=_WRITE_CONFIG,
    )


def remove_unlike(url: str, shape: tuple[int, ...]) -> None:
    """Remove the array at `url` where it has another shape."""
    try:
        found = open_filled(url).shape
    except (FileNotFoundError, zarr.errors.ArrayNotFoundError):
        return
    if found != shape:
        urls.remove_tree(url)


def compressor(dtype: DTypeLike) -> dict[str, Any]:
    """Zarr's configuration of blosc for numbers of a dtype."""
    typesize = np.dtype(dtype).itemsize
    return {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": typesize, "blocksize": 0}


def _geometry(row_nbytes: int, n_rows: int, shard: int | None) -> tuple[int, int]:
    if shard is None:
        return chunk_rows(row_nbytes, n_rows), shard_rows(row_nbytes, n_rows)
    most = chunk_rows(row_nbytes, shard)
    return next(rows for rows in range(most, 0, -1) if shard % rows == 0), shard


def _opened_same(url: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> zarr.Array[Any]:
    array = open_writable(url)
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"{url} already holds an array of {array.shape} {array.dtype}, not {shape} {dtype}. Choose another place."
        )
    return array


def write_whole(url: str, values: NDArray[Any]) -> None:
    """Write an array whose size only its maker knows; what a killed run left of it is replaced.

    It is one object, read as a whole, where that is not larger than any other shard.
    """
    urls.remove_tree(url)
    if 0 < values.nbytes <= SHARD_BYTES and values.dtype.kind in "fiub":
        return whole.write_object(url, values, compressor(values.dtype))
    array = create_array(url, shape=values.shape, dtype=values.dtype)
    if values.size:
        array[:] = values


def read_whole(url: str) -> NDArray[Any]:
    """All of an array, by two plain reads where `write_whole` wrote one object: Zarr sends nine requests for it."""
    content = whole.read_object(url)
    if content is not None:
        return content
    array = open_array(url)
    return read_rows(array, 0, array.shape[0], array.dtype)


def write_plain(url: str, values: NDArray[Any]) -> None:
    """As `write_whole`, in one object and as it lies in memory: `whole.read_plain` picks rows."""
    urls.remove_tree(url)
    if values.size:
        return whole.write_object(url, values, None)
    create_array(url, shape=values.shape, dtype=values.dtype)


def row_blocks(n_rows: int, block_rows: int) -> list[tuple[int, int]]:
    """(start, stop) of consecutive blocks of `block_rows` rows; the last may be shorter."""
    return [(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows)]


def read_rows(array: zarr.Array[Any], start: int, stop: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Rows `start` to `stop` as `dtype`, shape (stop - start, *row_shape).

    Raises
    ------
    InputError
        When a chunk object is lost or damaged: which one, and its rows.
    """
    with naming_chunks(array, start, stop):
        return converted(np.asarray(array[start:stop]), dtype)


def read_ids(array: zarr.Array[Any], ids: NDArray[np.int64]) -> NDArray[Any]:
    """The rows `ids` (ascending), as they are stored; raises as `read_rows` does."""
    with naming_chunks(array, int(ids.min(initial=array.shape[0])), int(ids.max(initial=-1)) + 1):
        return np.asarray(array.oindex[(ids, *[slice(None)] * (array.ndim - 1))])
