"""A Zarr array that is one object, written by its maker at once: the format without the machinery.

A graph writes five such arrays per partition. Zarr takes 3 ms to create and to fill the smallest of them, over an event
loop, and on S3 looks for what it is about to write; this is two plain writes. Every Zarr reader reads them.
"""

import json
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pumascale.tasks.storage import urls

METADATA = "zarr.json"


def write_object(url: str, values: NDArray[Any], compressor: dict[str, Any]) -> None:
    """Write an array of numbers, not empty, below 2 GiB, as metadata and one chunk; nothing may be there.

    Parameters
    ----------
    compressor : dict
        Zarr's configuration of its codec blosc, with "bitshuffle".

    Notes
    -----
    Source: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
    """
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    level, name = compressor["clevel"], compressor["cname"].encode()
    chunk = blosc.compress(values, name, level, blosc.BITSHUFFLE, compressor["blocksize"])
    urls.write_large(urls.join(url, METADATA), json.dumps(_metadata(values, compressor)).encode())
    urls.write_large(urls.join(url, "c", *["0"] * values.ndim), chunk)


def _metadata(values: NDArray[Any], compressor: dict[str, Any]) -> dict[str, Any]:
    shape = list(values.shape)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": False if values.dtype.kind == "b" else 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": compressor},
        ],
        "attributes": {},
    }
