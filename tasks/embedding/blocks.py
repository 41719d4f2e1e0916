"""Rows through a network, shard by shard: reading, computing and writing overlap.

An output shard holds up to a million rows, so a whole-map scan reads few objects (8 MB each in two dimensions) and a
row range one chunk of one. The source is read in blocks of 64 MB along its own chunks. In memory are at most two
blocks (one computed, one read ahead) and two output shards (one filled, one written behind), whatever n is.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, chunk_objects, manifests, sources, urls
from pumascale.tasks.storage.errors import NonFiniteError
from pumascale.tasks.storage.finite import check_finite, finite_rows, read_block

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
OnProgress = Callable[[str, int, int], None]
Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
Range = tuple[int, int]
MOST_SHARD_ROWS = 2**20
MOST_SHARD_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Job:
    """What to apply to which rows, and where the results go."""

    source: str
    network: Network
    target: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    batch_size: int
    non_finite: Literal["error", "nan"]
    by_number: bool = False


def apply_network(
    job: Job,
    *,
    dimension_names: tuple[str, ...],
    attributes: dict[str, Any],
    on_progress: OnProgress,
    n_rows: int | None = None,
    run: Runner | None = None,
) -> dict[str, Any]:
    """Write `job.network(rows)` for every row of the source to the target array, float32 (n, *out_shape).

    Shards that an earlier, killed run has finished (their receipts say so) are left as they are.

    Parameters
    ----------
    n_rows : int, optional
        Only the first so many rows; by default all.
    run : callable, optional
        ``run(function, items)`` yields results in any order: a cluster's, with a shard per item. By default all is
        done here.

    Returns
    -------
    dict
        n_rows, n_non_finite, n_shards, and n_shards_before, those that were there.

    Raises
    ------
    InputError
        When rows hold NaN or inf under the policy "error"; nothing is left of the target but what workers wrote.
    """
    rows = sources.open_source(job.source)
    n_rows = rows.shape[0] if n_rows is None else n_rows
    shape, shard = (n_rows, *job.out_shape), shard_rows(job.out_shape, n_rows)
    array = create_target(job.target, shape, shard, dimension_names, attributes)
    done = finished_shards(job.target, array)
    shards = [shard for shard in arrays.row_blocks(n_rows, chunk_objects.object_rows(array)) if shard not in done]
    counts, n_done = list(done.values()), sum(stop - start for start, stop in done)
    try:
        for (start, stop), n_bad in _run(job, rows, array, shards) if run is None else run(WriteShard(job), shards):
            counts.append(n_bad)
            n_done += stop - start
            on_progress("rows", n_done, n_rows)
    except NonFiniteError:
        if run is None:  # the same rows would stop every later run; but other workers may still be writing
            urls.remove_tree(job.target)
        check_finite(job.source)  # here and once, not by each worker: says how many there are
        raise
    return {"n_rows": n_rows, "n_non_finite": sum(counts), "n_shards": len(counts), "n_shards_before": len(done)}


def create_target(
    target: str, shape: tuple[int, ...], shard: int, dimension_names: tuple[str, ...] | None, attributes: dict[str, Any]
) -> zarr.Array[Any]:
    """Create the array to write to, in shards of `shard` rows, or open the one that a killed run began.

    One of another shape is replaced: it was begun when the source had fewer rows.
    """
    arrays.remove_unlike(target, shape)
    return arrays.create_array(
        target,
        shape=shape,
        dtype=np.float32,
        dimension_names=dimension_names,
        attributes=attributes,
        fill_value=float("nan"),
        shard_rows=shard,
    )


def shard_rows(out_shape: tuple[int, ...], n_rows: int) -> int:
    """Rows per output shard: whole chunks, up to 2^20 rows and 32 MB, at most the array."""
    row_nbytes = 4 * prod(out_shape)
    chunk = arrays.chunk_rows(row_nbytes, n_rows)
    most = min(MOST_SHARD_ROWS, MOST_SHARD_BYTES // row_nbytes) // chunk
    return chunk * max(1, min(most, -(-n_rows // chunk)))


def finished_shards(target: str, array: zarr.Array[Any]) -> dict[Range, int]:
    """Row ranges of the shards whose receipts match what is stored, with their counts of non-finite rows."""
    objects, receipts = urls.list_objects(target), manifests.read_receipts(target)
    found = {}
    for receipt in receipts.values():
        start, stop = receipt["rows"]
        stored = objects.get(chunk_objects.object_name(array, start))
        if stored is not None and [stored.size, stored.etag] == receipt["object"]:
            found[start, stop] = int(receipt["n_non_finite"])
    return found


@dataclass(frozen=True)
class WriteShard:
    """The task of a worker: computes and writes one shard; its range, and the number of rows with NaN or inf."""

    job: Job

    def __call__(self, shard: Range) -> tuple[Range, int]:
        """Do it."""
        rows, array = arrays.open_array(self.job.source), arrays.open_writable(self.job.target)
        (written,) = _run(self.job, rows, array, [shard])
        return written


def _run(
    job: Job, rows: zarr.Array[Any], array: zarr.Array[Any], shards: Sequence[Range]
) -> Iterator[tuple[Range, int]]:
    """Compute and write `shards`; each, and its number of rows with NaN or inf, as it is computed."""
    step = chunk_objects.block_rows(rows)
    plan = [(shard, block) for shard in shards for block in cut(*shard, step)]
    # Of the whole array, not of what is left to do: a run that goes on has the same batches as one that was not killed.
    batch_size = even(min(step, chunk_objects.object_rows(array)), job.batch_size)
    written: Future[None] | None = None
    n_bad = 0
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        for ((start, stop), block), values in _read_ahead(reader, rows, plan):
            if block[0] == start:
                results, n_bad = np.full((stop - start, *job.out_shape), np.nan, np.float32), 0
            finite = finite_rows(values)
            n_bad += int((~finite).sum())
            if n_bad and job.non_finite == "error":
                _finish(written)
                raise NonFiniteError(f"{job.source} has NaN or inf in rows {block[0]} to {block[1]}.")
            rows_in = _numbers(*block) if job.by_number else values.reshape(-1, *job.in_shape)
            _fill(job, batch_size, rows_in, finite, results[block[0] - start : block[1] - start])
            if block[1] == stop:
                _finish(written)
                written = writer.submit(_write, job.target, array, (start, stop), results, n_bad)
                yield (start, stop), n_bad
        _finish(written)


def _finish(written: Future[None] | None) -> None:
    if written is not None:
        written.result()


def even(n_rows: int, most: int) -> int:
    """Rows of each of as few batches of at most `most` rows as hold `n_rows`: none is padded by much."""
    return -(-n_rows // -(-n_rows // most))


def cut(start: int, stop: int, step: int) -> list[Range]:
    """`start` to `stop`, cut at the multiples of `step`: no chunk of the source is read twice within a shard."""
    edges = [start, *range((start // step + 1) * step, stop, step), stop]
    return list(pairwise(edges))


def _read_ahead(
    reader: ThreadPoolExecutor, rows: zarr.Array[Any], plan: list[tuple[Range, Range]]
) -> Iterator[tuple[tuple[Range, Range], NDArray[np.float32]]]:
    """Each step of the plan with its rows, the next block being read meanwhile."""
    ahead = [reader.submit(read_block, rows, *block) for _, block in plan[:1]]
    for index, step in enumerate(plan):
        values = ahead.pop().result()
        if index + 1 < len(plan):
            ahead.append(reader.submit(read_block, rows, *plan[index + 1][1]))
        yield step, values


def _fill(job: Job, batch_size: int, rows: NDArray[Any], finite: NDArray[np.bool_], out: NDArray[np.float32]) -> None:
    """Write the network's results for the finite ones of `rows` into `out`, batch by batch."""
    ids = np.flatnonzero(finite)
    for start in range(0, len(ids), batch_size):
        batch = ids[start : start + batch_size]
        picked = rows[batch[0] : batch[-1] + 1] if batch[-1] - batch[0] + 1 == len(batch) else rows[batch]
        out[batch] = np.asarray(job.network(_padded(picked, batch_size)))[: len(batch)]


def _numbers(start: int, stop: int) -> NDArray[np.int32]:
    return np.arange(start, stop, dtype=np.int32)[:, np.newaxis]


def _padded(batch: NDArray[Any], batch_size: int) -> NDArray[Any]:
    """Always the same batch shape: the network is compiled once, and a row's sums run in one order."""
    if len(batch) == batch_size:
        return batch
    return np.pad(batch, [(0, batch_size - len(batch)), *[(0, 0)] * (batch.ndim - 1)])


def _write(target: str, array: zarr.Array[Any], rows: Range, values: NDArray[np.float32], n_bad: int) -> None:
    try:
        array[rows[0] : rows[1]] = values
    except (ValueError, RuntimeError):
        # Older Zarr reads what it is about to overwrite; what a dead run left may be torn.
        urls.remove_object(urls.join(target, chunk_objects.object_name(array, rows[0])))
        array[rows[0] : rows[1]] = values
    note_shard(target, array, rows, n_bad)


def note_shard(target: str, array: zarr.Array[Any], rows: Range, n_bad: int) -> None:
    """Write the receipt of the stored shard `rows`."""
    name = chunk_objects.object_name(array, rows[0])
    stored = urls.object_info(urls.join(target, name))
    receipt = {"rows": list(rows), "n_non_finite": n_bad, "object": [stored.size, stored.etag]}
    manifests.write_receipt(target, f"rows-{rows[0]:012d}", receipt)
