"""Rows through a network, block by block: reading, computing and writing overlap.

A block is one output shard, so a task writes whole objects, and its receipt makes a killed run go on behind it. Three
blocks are in memory at most: one read ahead, one computed, one written behind.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, manifests
from pumascale.tasks.storage.errors import InputError

logger = logging.getLogger("pumascale.embedding")

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Block = tuple[int, int]
SHARD_ROWS = 2**20  # 8 MB of a two-dimensional map: a whole-map scan reads few objects, a row range little of one
BLOCK_BYTES = 64 * 2**20


def _silent(step: str, done: int, total: int) -> None:
    pass


def encode(
    source: str,
    network: Network,
    target: str,
    *,
    row_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    batch_size: int = 8192,
    non_finite: Literal["error", "nan"] = "error",
    attributes: dict[str, Any] | None = None,
    on_progress: Callable[[str, int, int], None] = _silent,
) -> dict[str, Any]:
    """Write `network(rows)` for every row of `source` to the array `target`; run backwards, it decodes a map.

    Parameters
    ----------
    source : str
        URL of an array (n, ...) whose rows have prod(row_shape) values.
    network : callable
        float32 (m, *row_shape) to float32 (m, *out_shape).
    target : str
        URL of the array to make, float32 (n, *out_shape), fill value NaN.
    non_finite : {"error", "nan"}
        What rows with NaN or inf do: stop the run, or get NaN coordinates.

    Returns
    -------
    dict
        n_rows, n_non_finite, n_blocks, n_blocks_done_before.

    Raises
    ------
    InputError
        When rows hold NaN or inf and `non_finite` is "error".
    """
    rows = arrays.open_source(source)
    shard = _shard_rows(rows, out_shape)
    written = _create(target, (rows.shape[0], *out_shape), shard, attributes)
    blocks = arrays.row_blocks(rows.shape[0], shard)
    receipts = manifests.read_receipts(target)
    todo = [block for block in blocks if _name(block) not in receipts]
    counts = [int(receipts[_name(block)]["n_non_finite"]) for block in blocks if _name(block) in receipts]
    with ThreadPoolExecutor(2) as pool:
        pending: Future[None] | None = None
        for (start, stop), block in _read_ahead(pool, rows, todo):
            finite = _check(block, start, non_finite, source)
            values = _apply(network, block.reshape(-1, *row_shape), finite, out_shape, batch_size)
            if pending is not None:
                pending.result()
            receipt = {"rows": [start, stop], "n_non_finite": int((~finite).sum())}
            pending = pool.submit(_write, target, written, (start, stop), values, receipt)
            counts.append(receipt["n_non_finite"])
            on_progress("rows", stop, rows.shape[0])
        if pending is not None:
            pending.result()
    before = len(blocks) - len(todo)
    return {
        "n_rows": rows.shape[0], "n_non_finite": sum(counts), "n_blocks": len(blocks), "n_blocks_done_before": before,
    }  # fmt: skip


def check_finite(source: str) -> None:
    """Refuse rows with NaN or inf: InputError says how many rows, and which is the first. Integers are always finite."""
    rows = arrays.open_source(source)
    if rows.dtype.kind != "f":
        return
    bad = np.concatenate([start + np.flatnonzero(~_finite(block)) for start, block in _scan(rows)])
    if len(bad):
        raise InputError(_describe_non_finite(source, len(bad), int(bad[0])))


def _scan(rows: zarr.Array[Any]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    step = _shard_rows(rows, (1,))
    for start, stop in arrays.row_blocks(rows.shape[0], step):
        yield start, arrays.read_rows(rows, start, stop)


def _describe_non_finite(source: str, n_rows: int, first: int) -> str:
    return (
        f"{source} has {n_rows} rows with NaN or inf, row {first} first. Expected finite numbers: "
        "clean the rows, or embed them with embedding.non_finite=nan to give them NaN coordinates."
    )


def _shard_rows(rows: zarr.Array[Any], out_shape: tuple[int, ...]) -> int:
    """Rows per block: those of 64 MB of input or output, a multiple of 1,024, at most a shard's."""
    row_bytes = 4 * max(int(np.prod(rows.shape[1:])), int(np.prod(out_shape)))
    return int(min(SHARD_ROWS, max(1024, BLOCK_BYTES // row_bytes // 1024 * 1024)))


def _create(
    target: str, shape: tuple[int, ...], shard: int, attributes: dict[str, Any] | None
) -> zarr.Array[Any]:
    names = ("row", "component") if len(shape) == 2 else ("row", *(f"axis_{axis}" for axis in range(1, len(shape))))
    return arrays.create_array(
        target, shape=shape, dtype=np.float32, dimension_names=names, attributes=attributes,
        fill_value=float("nan"), shard_rows=shard,
    )  # fmt: skip


def _read_ahead(
    pool: ThreadPoolExecutor, rows: zarr.Array[Any], blocks: list[Block]
) -> Iterator[tuple[Block, NDArray[np.float32]]]:
    """Each block with its rows, the next one being read meanwhile."""
    ahead = [pool.submit(arrays.read_rows, rows, *block) for block in blocks[:1]]
    for index, block in enumerate(blocks):
        values = ahead.pop().result()
        if index + 1 < len(blocks):
            ahead.append(pool.submit(arrays.read_rows, rows, *blocks[index + 1]))
        yield block, values


def _finite(block: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isfinite(block.reshape(len(block), -1)).all(axis=1)


def _check(block: NDArray[np.float32], start: int, non_finite: str, source: str) -> NDArray[np.bool_]:
    finite = _finite(block)
    if non_finite == "error" and not finite.all():
        bad = np.flatnonzero(~finite)
        raise InputError(_describe_non_finite(f"Rows {start} to {start + len(block)} of {source}", len(bad), start + int(bad[0])))
    return finite


def _apply(
    network: Network, block: NDArray[np.float32], finite: NDArray[np.bool_], out_shape: tuple[int, ...], batch_size: int
) -> NDArray[np.float32]:
    values = np.full((len(block), *out_shape), np.nan, np.float32)
    ids = np.flatnonzero(finite)
    for start in range(0, len(ids), batch_size):
        batch = ids[start : start + batch_size]
        values[batch] = network(_padded(block[batch], batch_size))[: len(batch)]
    return values


def _padded(batch: NDArray[np.float32], batch_size: int) -> NDArray[np.float32]:
    """Always the same batch shape, so that the network is compiled once and a row's sums run in one order."""
    return np.pad(batch, [(0, batch_size - len(batch)), *[(0, 0)] * (batch.ndim - 1)])


def _write(
    target: str, array: zarr.Array[Any], block: Block, values: NDArray[np.float32], receipt: dict[str, Any]
) -> None:
    array[block[0] : block[1]] = values
    manifests.write_receipt(target, _name(block), receipt)


def _name(block: Block) -> str:
    return f"rows-{block[0]:012d}"
