"""Equal rows, found out of core: hashes by block, shuffled into buckets, compared within each bucket.

With `graph.unique` the first row of each kind stands for all of them in the graph, as in umap-learn; the others get
no edges there, and the same place in the map, since the encoder sees the same row.
"""

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph.plan import BlockTask, PartitionTask, Plan, block_tasks, scratch_of
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import arrays, sources

BUCKET_ROWS = 4_000_000  # hashes and ids of a bucket: 100 MB


def n_buckets(plan: Plan) -> int:
    """Buckets of hashes that are compared one by one."""
    return -(-plan.n_rows // BUCKET_ROWS)


def bucket_tasks(plan: Plan) -> list[PartitionTask]:
    """One task per bucket."""
    return [PartitionTask(plan, bucket) for bucket in range(n_buckets(plan))]


def hash_block(task: BlockTask) -> dict[str, Any]:
    """Hash a block's rows, one run by bucket."""
    plan = task.plan
    rows = arrays.read_rows(sources.open_source(plan.source), task.start, task.stop)
    hashes = row_hashes(rows)
    owner = (hashes[:, 0] % np.uint64(n_buckets(plan))).astype(np.int64)
    content = {"hashes": hashes, "rows": np.arange(task.start, task.stop)}
    write_run(plan.scratch("hashes", task.name), owner, n_buckets(plan), content)
    return {"n_rows": len(rows)}


def row_hashes(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """128 bits of each row, uint64 (m, 2), the same for 0.0 and -0.0."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1) + np.float32(0))
    digests = b"".join(blake2b(row, digest_size=16).digest() for row in flat)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def find_duplicates(task: PartitionTask) -> dict[str, Any]:
    """The rows of a bucket that equal an earlier one, one run by block."""
    plan = task.plan
    blocks = scratch_of(plan, "hashes", block_tasks(plan))
    hashes, rows = read_runs(blocks, task.partition, ("hashes", "rows"))
    again = np.sort(np.setdiff1d(rows, first_of_each(hashes, rows), assume_unique=True))
    write_run(plan.scratch("duplicates", task.name), again // plan.block_rows, len(blocks), {"rows": again})
    return {"n_duplicates": len(again)}


def first_of_each(hashes: NDArray[np.uint64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest row id of each hash."""
    order = np.lexsort((rows, hashes[:, 1], hashes[:, 0]))
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (hashes[order][1:] != hashes[order][:-1]).any(axis=1)
    return rows[order][is_first]


def read_duplicates(task: BlockTask) -> NDArray[np.int64]:
    """Ids of a block's rows that an earlier row stands for; none without `graph.unique`."""
    plan = task.plan
    if not plan.parameters.unique:
        return np.empty(0, np.int64)
    return read_runs(scratch_of(plan, "duplicates", bucket_tasks(plan)), task.block, ("rows",))[0]
