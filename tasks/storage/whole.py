"""A Zarr array that is one object, written by its maker at once: the format without the machinery.

A graph writes some such arrays per partition. Zarr takes 3 ms to create and to fill the smallest of them, over an event
loop, and on S3 looks for what it is about to write; this is two plain writes. Every Zarr reader reads them.
"""

import json
import math
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError

METADATA = "zarr.json"


def write_object(url: str, values: NDArray[Any], compressor: dict[str, Any] | None) -> None:
    """Write an array of numbers, not empty, as metadata and one chunk; nothing may be there.

    Parameters
    ----------
    compressor : dict, optional
        Zarr's configuration of its codec blosc, with "bitshuffle", for less than 2 GiB; without it the bytes lie as
        they are, and `read_plain` can pick rows.

    Notes
    -----
    Source: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
    """
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    urls.write_large(urls.join(url, METADATA), json.dumps(_metadata(values.dtype, values.shape, compressor)).encode())
    urls.write_large(_chunk_url(url, values.ndim), _chunk(values, compressor))


def read_object(url: str) -> NDArray[Any] | None:
    """An array that `write_object` wrote; None where there is another, or none: Zarr says what."""
    metadata = json.loads(urls.read_bytes(urls.join(url, METADATA)) or "{}")
    compressors = [codec["configuration"] for codec in metadata.get("codecs", [])[1:]]
    dtype, shape = np.dtype(metadata.get("data_type", "u1")), tuple(metadata.get("shape", ()))
    if not shape or metadata != _metadata(dtype, shape, *compressors[:1]):
        return None
    name = _chunk_url(url, len(shape))
    data = urls.read_bytes(name)
    if data is None:
        return None
    try:
        return np.frombuffer(_decoded(data) if compressors else data, dtype).reshape(shape)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} cannot be read: {error}. The object is lost or damaged: restore it, or make its graph anew."
        ) from error


def _decoded(data: bytes) -> bytes:
    """What blosc compressed; it reads on behind the end of data that were cut off."""
    if len(data) < 16 or int.from_bytes(data[12:16], "little") != len(data):
        raise ValueError(f"{len(data)} bytes are not all of it")
    return bytes(blosc.decompress(data))


def read_plain(url: str, start: int, stop: int) -> NDArray[Any]:
    """Rows `start` to `stop` of an array that was written without a compressor; on a disk no more than is looked at."""
    metadata = json.loads(urls.read_bytes(urls.join(url, METADATA)) or "")
    dtype, shape = np.dtype(metadata["data_type"]), metadata["shape"]
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    data = urls.map_range(_chunk_url(url, len(shape)), start * row_bytes, stop * row_bytes)
    return np.frombuffer(data, dtype).reshape(stop - start, *shape[1:])


def _chunk_url(url: str, n_axes: int) -> str:
    return urls.join(url, ".".join(["c", *["0"] * n_axes]))  # in no folder of its own: to make one costs as much again


def _chunk(values: NDArray[Any], compressor: dict[str, Any] | None) -> Any:
    if compressor is None:
        return values.reshape(-1).view(np.uint8).data
    level, name = compressor["clevel"], compressor["cname"].encode()
    return blosc.compress(values, name, level, blosc.BITSHUFFLE, compressor["blocksize"])


def _metadata(dtype: np.dtype[Any], shape: tuple[int, ...], compressor: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": False if dtype.kind == "b" else 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            *([{"name": "blosc", "configuration": compressor}] if compressor else []),
        ],
        "attributes": {},
    }
