"""Each row's strongest edge: what isolated rows lack, and what local connectivity is restored by.

A row's edges lie in several partitions, so the maximum over them is a reduction: one run per partition, read by block.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, partition_tasks, read, scratch_of, write
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import graph_store

MOST_NAMED = 10  # isolated rows in the manifest; all of them are in the array `isolated`


def note_unsure(task: BlockTask, strength: NDArray[np.float32]) -> int:
    """Write which rows of a block joined no partition, and so are isolated; returns how many of the others may be.

    A row with an edge of its own is not isolated, unless the union takes the edges of one direction away. Where every
    row has such an edge, nobody need look through the partitions for those of other rows.

    Parameters
    ----------
    strength : float32 (m, n_neighbors)
        Of the edges from the block's rows.
    """
    plan = task.plan
    is_left_out = read(plan.scratch("partitions_of"), slice(task.start, task.stop))[:, 0] < 0
    write(plan.member("isolated"), task.start, is_left_out)
    strongest = strength.max(axis=1)
    unsure = fuzzy.fuzzy_union(strongest, np.zeros_like(strongest), plan.parameters.set_op_mix_ratio) <= 0
    return int((unsure & ~is_left_out).sum())


def note_strongest(task: PartitionTask, content: graph_store.Partition, backward: NDArray[np.float32]) -> None:
    """Write the strongest weight that each of a partition's rows has there, by block.

    Parameters
    ----------
    backward : float32 (e,)
        Weights from tail to head; `content` has those from head to tail.
    """
    plan, strongest = task.plan, np.zeros(len(content.rows), np.float32)
    np.maximum.at(strongest, content.head, content.weight)
    np.maximum.at(strongest, content.tail, backward)
    owner = content.rows // plan.block_rows
    run = plan.scratch("strongest", task.name)
    write_run(run, owner, len(plan.blocks()), {"rows": content.rows, "weight": strongest})


def find_isolated(task: BlockTask) -> dict[str, Any]:
    """The strongest weight of each of a block's rows, over all partitions; rows that have none are isolated."""
    plan, strongest = task.plan, np.zeros(task.stop - task.start, np.float32)
    runs = scratch_of(plan, "strongest", partition_tasks(plan))
    rows, weight = read_runs(runs, task.block, ("rows", "weight"))
    np.maximum.at(strongest, rows - task.start, weight)
    region = slice(task.start, task.stop)
    write(plan.scratch("strongest_of"), task.start, strongest)
    write(plan.member("isolated"), task.start, strongest == 0)
    # Those left out by wish, with NaN or as duplicates, joined no partition.
    isolated = np.flatnonzero((strongest == 0) & (read(plan.scratch("partitions_of"), region)[:, 0] >= 0))
    return {"start": task.start, "n_isolated": len(isolated), "isolated": (task.start + isolated[:MOST_NAMED]).tolist()}


def restored(
    head: NDArray[np.int32],
    tail: NDArray[np.int32],
    forward: NDArray[np.float32],
    backward: NDArray[np.float32],
    strongest: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Weights once every row sees its strongest edge at full strength: the union of both ends' views, float32 (e,).

    Parameters
    ----------
    forward, backward : float32 (e,)
        From head to tail, and from tail to head.
    strongest : float32 (m,)
        Of the rows that `head` and `tail` index.

    Notes
    -----
    Source: ``umap.umap_.reset_local_connectivity``.
    """
    scale = np.asarray(1 / np.where(strongest > 0, strongest, 1), np.float32)
    return fuzzy.fuzzy_union(forward * scale[head], backward * scale[tail], 1.0)
