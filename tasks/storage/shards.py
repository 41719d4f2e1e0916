"""Whole shards of the arrays that are created here, as plain objects: the format without the machinery.

Zarr takes some 5 ms to open an array, and half of one for each inner chunk, over an event loop: with blocks of a few
thousand rows that was most of what the fuzzy union took. Every Zarr reader reads what is written here.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from google_crc32c import value as crc32c
from numcodecs import blosc
from numpy.typing import NDArray

from pumascale.tasks.storage import urls

CODECS = [["bytes", "blosc"], ["bytes", "crc32c"]]  # of the inner chunks, and of the index behind them
CRC_BYTES = 4
ABSENT = np.uint64(2**64 - 1)  # the place of an inner chunk that is not there


@dataclass(frozen=True)
class Sharded:
    """An array whose shards, and inner chunks, lie along axis 0."""

    url: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shard_rows: int
    chunk_rows: int
    compressor: dict[str, Any]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows `start` to `stop`; one of `chunk_objects.DAMAGED` where some are lost."""
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for shard in range(start // self.shard_rows, -(-stop // self.shard_rows) if stop > start else 0):
            for first, chunk in self._chunks(shard, start, stop):
                low, high = max(first, start), min(first + len(chunk), stop)
                rows[low - start : high - start] = chunk[low - first : high - first]
        return rows

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """The rows `ids`, ascending, a shard at a time; raises as `read` does."""
        rows = np.empty((len(ids), *self.shape[1:]), self.dtype)
        shards, begins = np.unique(ids // self.shard_rows, return_index=True)
        for shard, begin, end in zip(shards.tolist(), begins, np.append(begins[1:], len(ids)), strict=False):
            for first, chunk in self._chunks(shard, int(ids[begin]), int(ids[end - 1]) + 1):
                low, high = np.searchsorted(ids, (first, first + len(chunk)))
                rows[low:high] = chunk[ids[low:high] - first]
        return rows

    def _chunks(self, shard: int, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """The inner chunks of a shard that hold rows from `start` to `stop`: their first row, and their content."""
        begin, size = shard * self.shard_rows, self.chunk_rows
        low, high = max(0, start - begin) // size, -(-min(stop - begin, self.shard_rows) // size)
        places = self._index(shard)[low:high]
        if (places == ABSENT).any():
            raise KeyError(f"{self._object(shard)} lacks chunks of the rows {start} to {stop}.")
        at = int(places[:, 0].min())
        data = memoryview(urls.read_range(self._object(shard), at, int(places.sum(axis=1).max())))
        for number, (place, n_bytes) in enumerate((places - [at, 0]).astype(int).tolist(), start=low):
            chunk = np.frombuffer(blosc.decompress(data[place : place + n_bytes]), self.dtype)
            yield begin + number * size, chunk.reshape(size, *self.shape[1:])

    def _index(self, shard: int) -> NDArray[np.uint64]:
        """Where each inner chunk of a shard begins, and its bytes, (n_chunks, 2)."""
        count = self.shard_rows // self.chunk_rows
        index = urls.read_tail(self._object(shard), 16 * count + CRC_BYTES)
        if int.from_bytes(index[-CRC_BYTES:], "little") != crc32c(index[:-CRC_BYTES]):
            raise ValueError(f"{self._object(shard)} is damaged: its index does not fit its checksum.")
        return np.frombuffer(index, np.uint64, 2 * count).reshape(count, 2)

    def holds(self, start: int, stop: int) -> bool:
        """Whether rows `start` to `stop` are whole shards."""
        return start % self.shard_rows == 0 and (stop % self.shard_rows == 0 or stop == self.shape[0])

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write whole shards from row `start` on."""
        for first in range(0, len(rows), self.shard_rows):
            shard = self._encoded(rows[first : first + self.shard_rows])
            urls.write_large(self._object((start + first) // self.shard_rows), shard)

    def _encoded(self, rows: NDArray[Any]) -> bytes:
        level, name, size = self.compressor["clevel"], self.compressor["cname"].encode(), self.chunk_rows
        places, chunks, at = np.full((self.shard_rows // size, 2), ABSENT, np.uint64), list[bytes](), 0
        for number, first in enumerate(range(0, len(rows), size)):
            chunk = np.zeros((size, *self.shape[1:]), self.dtype)
            part = rows[first : first + size]
            chunk[: len(part)] = part
            chunks.append(blosc.compress(chunk, name, level, blosc.BITSHUFFLE, self.compressor["blocksize"]))
            places[number] = at, len(chunks[-1])
            at += len(chunks[-1])
        index = places.tobytes()
        return b"".join([*chunks, index, crc32c(index).to_bytes(CRC_BYTES, "little")])

    def _object(self, shard: int) -> str:
        return urls.join(self.url, "c", str(shard), *["0"] * (len(self.shape) - 1))


def open_sharded(url: str) -> Sharded | None:
    """The array at `url`, where `arrays.create_array` makes such arrays; None: Zarr must be asked."""
    text = urls.read_bytes(urls.join(url, "zarr.json"))
    metadata = json.loads(text) if text else {}
    codecs = metadata.get("codecs", [])
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return None
    inner, shape = codecs[0]["configuration"], tuple(metadata["shape"])
    shard, chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"], inner["chunk_shape"]
    if [[codec["name"] for codec in inner[kind]] for kind in ("codecs", "index_codecs")] != CODECS:
        return None
    order, compressor = (codec.get("configuration", {}) for codec in inner["codecs"])
    is_ours = order.get("endian", "little") == "little" and compressor["shuffle"] == "bitshuffle"
    if not is_ours or inner["index_location"] != "end" or math.prod(shape) == 0:
        return None
    if not tuple(shard[1:]) == tuple(chunk[1:]) == shape[1:]:
        return None
    return Sharded(url, shape, np.dtype(metadata["data_type"]), shard[0], chunk[0], compressor)
