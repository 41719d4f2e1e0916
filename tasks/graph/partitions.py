"""Partitions: neighbourhoods of rows that fit a worker, made out of core.

per block: each row to the partitions of its nearest pivots, `overlap` at most, see `pivots`; one run, sorted by them
per partition: one range read per run
"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph import metrics, pivots
from pumascale.tasks.graph.duplicates import read_duplicates
from pumascale.tasks.graph.floats import as_floats
from pumascale.tasks.graph.plan import BlockTask, Plan, block_tasks, gather, read, scratch_of, write
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.storage import arrays, graph_store, whole
from pumascale.tasks.storage.errors import InputError, ValuesError
from pumascale.tasks.storage.finite import finite_rows, refuse_bad

logger = logging.getLogger("pumascale.graph")


def assign_block(task: BlockTask) -> dict[str, Any]:
    """The partitions that each row of a block joins, nearest first, and the rows as one run for them.

    A row with NaN or inf joins none, nor does one that an equal row stands for: -1. Returns the partitions' sizes, how
    many rows joined any, and which are not finite.

    Raises
    ------
    ValuesError
        When the metric has no meaning for the rows.
    """
    plan = task.plan
    data = _read_block(task)
    rows = flat(data)
    finite = finite_rows(rows)
    if not plan.parameters.precomputed_knn:
        metrics.check_values(plan.parameters.metric, rows if finite.all() else rows[finite], plan.source)
    rows[~finite] = 0  # stands in for NaN in the distances; such a row joins nothing below
    metrics.check_squares(rows, plan.source)
    nearest = np.zeros((len(rows), 1), np.int32) if plan.n_partitions == 1 else pivots.nearest_partitions(plan, rows)
    del rows
    nearest[~finite] = -1
    nearest[read_duplicates(task) - task.start] = -1
    write(plan.scratch("partitions_of"), task.start, nearest)
    if plan.n_partitions > 1:
        _scatter(task, nearest, data)
    sizes = np.bincount(nearest[nearest >= 0], minlength=plan.n_partitions)
    bad = task.start + np.flatnonzero(~finite)
    n_joined = int((nearest[:, 0] >= 0).sum())
    return {"sizes": sizes.tolist(), "n_joined": n_joined, "n_bad": len(bad), "first_bad": bad[:1].tolist()}


def check_finite(plan: Plan, assigned: list[dict[str, Any]]) -> None:
    """Refuse rows with NaN or inf that `assign_block` met, unless they are skipped: all was read there anyway."""
    if plan.parameters.non_finite == "error":
        first = min((row for result in assigned for row in result["first_bad"]), default=-1)
        refuse_bad(plan.source, plan.n_rows, sum(result["n_bad"] for result in assigned), first)


def check_joined(plan: Plan, assigned: list[dict[str, Any]]) -> None:
    """Refuse fewer rows than neighbours: all their edges would be of weight 1."""
    n_joined = sum(result["n_joined"] for result in assigned)
    if n_joined <= plan.parameters.n_neighbors:
        raise ValuesError(
            f"{n_joined} rows are left of {plan.source} without those with NaN and, with graph.unique, those that "
            f"equal another, too few for graph.n_neighbors={plan.parameters.n_neighbors} (of continuous labels: "
            "graph.target_n_neighbors). Expected more rows than neighbours: lower it."
        )


def check_sizes(plan: Plan, sizes: NDArray[np.int64]) -> None:
    """Refuse partitions above the bound that was asked for; above one that the memory suggests, warn."""
    bound = plan.parameters.partition_rows
    if bound is None and sizes.max() > plan.most_rows:
        logger.warning(
            "build_graph: the largest of %d partitions has %d rows, more than the %d that surely fit a worker's memory:"
            " many rows are alike. Leave equal ones out (graph.unique=true), or raise compute.memory_limit.",
            plan.n_partitions, sizes.max(), plan.most_rows,
        )  # fmt: skip
    if bound is not None and sizes.max() > bound:
        raise InputError(
            f"The largest of {plan.n_partitions} partitions has {sizes.max()} rows, above graph.partition_rows={bound}."
            f" Set graph.n_partitions={int(plan.n_partitions * sizes.max() / bound) + 1} or more, or a smaller overlap."
        )
    logger.info("build_graph: %d partitions of %d to %d rows", plan.n_partitions, sizes.min(), sizes.max())


def _scatter(task: BlockTask, joined: NDArray[np.int32], data: NDArray[Any]) -> None:
    """Write a block's rows, each for every partition that it joined, as one run."""
    slot = np.tile(np.arange(joined.shape[1], dtype=np.int8), len(data))
    content: dict[str, NDArray[Any]] = {"rows": np.arange(task.start, task.stop), "slot": slot, "data": data}
    write_run(task.plan.scratch("runs", task.name), joined.ravel(), task.plan.n_partitions, content)


def collect(plan: Plan, partition: int) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.bool_]]:
    """A partition's rows, ids ascending and data as in the source, and which of them joined it first.

    They are written for all that comes later: the ids as a run, those that joined it first before the others, and in
    the same order the data.
    """
    if plan.n_partitions == 1:
        rows = _collect_alone(plan)
        return rows, gather(plan.source, rows), np.ones(len(rows), bool)
    runs = scratch_of(plan, "runs", block_tasks(plan))
    rows, slot, data = read_runs(runs, partition, ("rows", "slot", "data"))
    write_run(plan.part(partition), slot > 0, 2, {"rows": rows})
    arrays.write_plain(_data_url(plan, partition), data[np.argsort(slot > 0, kind="stable")])
    return rows, data, slot == 0


def _collect_alone(plan: Plan) -> NDArray[np.int64]:
    """As `collect`, for the only partition, whose data stay where they are."""
    rows = np.flatnonzero(read(plan.scratch("partitions_of"))[:, 0] == 0)
    write_run(plan.part(0), np.zeros(len(rows), int), 2, {"rows": rows})
    return rows


def read_ids(plan: Plan, partition: int) -> NDArray[np.int64]:
    """Ids of a partition's rows in the order of its data, int64: those that joined it first, then the others."""
    return np.concatenate([_read_ids(plan, partition, owner) for owner in (0, 1)])


def _read_ids(plan: Plan, partition: int, owner: int) -> NDArray[np.int64]:
    (rows,) = read_runs([plan.part(partition)], owner, ("rows",))
    return rows


def _data_url(plan: Plan, partition: int) -> str:
    return graph_store.partition_url(plan.place, partition, "data")


def read_own(plan: Plan, partition: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The rows whose first partition this is: ids, int64 ascending, and data as in the source."""
    rows = _read_ids(plan, partition, 0)
    return rows, whole.read_plain(_data_url(plan, partition), 0, len(rows))


def gather_data(plan: Plan, ids: NDArray[np.int64]) -> NDArray[Any]:
    """The rows `ids` as in the source, each out of its first partition: near rows lie in few of them, side by side."""
    if plan.n_partitions == 1:
        return gather(plan.source, ids)
    array = arrays.open_array(plan.source)
    own, data = gather(plan.scratch("partitions_of"), ids)[:, 0], np.empty((len(ids), *array.shape[1:]), array.dtype)
    for partition in np.unique(own).tolist():
        mine = np.flatnonzero(own == partition)
        rows, content = read_own(plan, partition)
        data[mine] = content[np.searchsorted(rows, ids[mine])]
    return data


def flat(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows as vectors, float32 (m, n_features)."""
    return as_floats(rows.reshape(len(rows), int(np.prod(rows.shape[1:]))))


def _read_block(task: BlockTask) -> NDArray[Any]:
    array = arrays.open_array(task.plan.source)
    return arrays.read_rows(array, task.start, task.stop, array.dtype)
