"""Supervised graphs: the fuzzy set of the rows meets that of their labels, still partition by partition.

    unsupervised edges --labels--> met edges --strongest edge of each row--> local connectivity restored

Categories weaken the edges between them. A continuous target is rows of its own: its neighbours are found by this same
room, and its directed edges (umap-learn takes them before their union) go to the partitions of the rows, which take
their far ends in as guests.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy
from pumascale.tasks.graph.connectivity import note_strongest, restored
from pumascale.tasks.graph.pairs import both_directions, pair_ends, pair_keys
from pumascale.tasks.graph.plan import BlockTask, PartitionTask, gather, read, write
from pumascale.tasks.graph.union import (
    gather_edges,
    heaviest,
    least,
    scatter_edges,
    settle,
    with_guests,
)
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, graph_store, sources, urls
from pumascale.tasks.storage.graph_store import Partition

CATEGORICAL = "categorical"
UNKNOWN = -1  # the label of a row without one, as is NaN
UNKNOWN_DISTANCE = 1.0
NO_EDGE = 1e-8  # the strengths that an edge missing on one side has at least, and at most on the target's
NO_TARGET_EDGE = 1e-4


@dataclass(frozen=True)
class MeetTask(PartitionTask):
    """Let a partition meet the target's edges; `least` and `least_of_target` are the smallest weights of each."""

    least: float = 0.0
    least_of_target: float = 0.0


def target_parameters(parameters: GraphParameters) -> GraphParameters:
    """How the graph of a continuous target is built."""
    n_neighbors = parameters.target_n_neighbors if parameters.target_n_neighbors > 0 else parameters.n_neighbors
    asked = {"n_neighbors": n_neighbors, "metric": parameters.target_metric, "random_state": parameters.random_state}
    asked["non_finite"] = "skip"  # a row without a target
    bounds = parameters.model_dump(include={"partition_rows", "target_recall", "repair_passes", "recall_sample"})
    return GraphParameters(**asked, **bounds)


def far_distance(target_weight: float) -> float:
    """Distance between two categories. Source: ``umap.UMAP.fit``."""
    return 2.5 / (1.0 - target_weight) if target_weight < 1.0 else 1e12


def meet_categories(task: PartitionTask) -> dict[str, Any]:
    """Weaken a partition's edges between categories, and a little those of rows whose category is unknown."""
    plan = task.plan
    edges = graph_store.read_partition(plan.scratch("unsupervised"), task.partition)
    labels = read_labels(str(plan.parameters.labels), edges.rows)
    factors = category_factors(labels, edges.head, edges.tail, plan.parameters.target_weight)
    weight = (edges.weight * factors).astype(np.float32)
    return _note_met(task, replace(edges, weight=weight), weight)


def read_labels(url: str, ids: NDArray[np.int64]) -> NDArray[Any]:
    """The labels of the rows `ids`, in their order."""
    once, at = np.unique(ids, return_inverse=True)
    return np.asarray(arrays.read_ids(sources.open_labels(url), once)[at])


def category_factors(
    labels: NDArray[Any], head: NDArray[np.int32], tail: NDArray[np.int32], target_weight: float
) -> NDArray[np.float64]:
    """What each edge's weight is multiplied by, (e,): 1 within a category.

    Source: ``umap.umap_.fast_intersection``.
    """
    apart = np.where(labels[head] == labels[tail], 1.0, np.exp(-far_distance(target_weight)))
    if labels.dtype.kind not in "iuf":
        return apart
    is_unknown = (labels == UNKNOWN) | np.isnan(labels)
    return np.where(is_unknown[head] | is_unknown[tail], np.exp(-UNKNOWN_DISTANCE), apart)


def _note_met(task: PartitionTask, edges: Partition, backward: NDArray[np.float32]) -> dict[str, Any]:
    """Write the edges that are left; `edges` has their weights from head to tail."""
    left, plan = (edges.weight > 0) | (backward > 0), task.plan
    met = Partition(edges.rows, edges.head[left], edges.tail[left], edges.weight[left])
    graph_store.write_partition(plan.scratch("met"), task.partition, met)
    arrays.write_whole(plan.scratch("met_backward", task.name), backward[left])
    note_strongest(task, met, backward[left])
    return {"n_edges": int(left.sum())}


def restore_partition(task: PartitionTask) -> dict[str, Any]:
    """Write a partition whose rows are again connected at full strength to at least one other."""
    plan = task.plan
    met = graph_store.read_partition(plan.scratch("met"), task.partition)
    backward = read(plan.scratch("met_backward", task.name))
    strongest = gather(plan.scratch("strongest_of"), met.rows)
    weight = restored(met.head, met.tail, met.weight, backward, strongest)
    settle(plan, task.partition, Partition(met.rows, met.head, met.tail, weight))
    return {"n_edges": len(weight), "heaviest": heaviest(weight)}


def open_target(parameters: GraphParameters) -> zarr.Array[Any]:
    """The numbers of a continuous target; a chunk of fill values need not be there, as with other labels."""
    return sources.find_array(str(parameters.labels), arrays.open_filled)


def copy_target(task: BlockTask) -> dict[str, Any]:
    """A block of a continuous target as rows, (n, 1) for one value each; rows that joined no partition have none."""
    rows = arrays.read_rows(open_target(task.plan.parameters), task.start, task.stop)
    rows[read(task.plan.scratch("partitions_of"), slice(task.start, task.stop))[:, 0] < 0] = np.nan
    write(task.plan.scratch("target"), task.start, rows.reshape(len(rows), -1))
    return {"n_rows": len(rows)}


def scatter_target(task: BlockTask) -> dict[str, Any]:
    """The target's directed edges from a block of rows, as one run for the partitions of the rows."""
    plan, rows, names = task.plan, slice(task.start, task.stop), ("knn_indices", "knn_dists", "sigmas", "rhos")
    of_target = [read(urls.join(plan.scratch("target_graph"), name), rows) for name in names]
    strength = fuzzy.membership_strengths(np.arange(task.start, task.stop), *of_target)
    scatter_edges(plan, plan.scratch("target_edges", task.name), task.start, of_target[0], strength)
    return {"least": least(strength[strength > 0])}


def meet_target(task: MeetTask) -> dict[str, Any]:
    """Join a partition's edges with those that the target has there, its far ends taken in as guests."""
    plan = task.plan
    edges = graph_store.read_partition(plan.scratch("unsupervised"), task.partition)
    head, tail, strength = gather_edges(plan, "target_edges", task.partition)
    ids, head, tail = with_guests(edges.rows, head, tail)
    both = (pair_keys(edges.head, edges.tail, len(ids)), pair_keys(head, tail, len(ids)))
    keys, pair = np.unique(np.concatenate(both), return_inverse=True)
    own, of_target = np.split(pair, [len(edges.weight)])
    weight, share = np.zeros(len(keys), np.float32), plan.parameters.target_weight
    weight[own] = edges.weight
    directions = both_directions(of_target, len(keys), head < tail, strength)
    met = [intersection(weight, right, task.least, task.least_of_target, share) for right in directions]
    return _note_met(task, Partition(ids, *pair_ends(keys, len(ids)), met[0]), met[1])


def intersection(
    left: NDArray[np.float32], right: NDArray[np.float32], least: float, least_of_target: float, target_weight: float
) -> NDArray[np.float32]:
    """Strengths of edges where two fuzzy sets meet, float32 (e,); 0 stands for an edge that is not there.

    Source: ``umap.sparse.general_sset_intersection``.
    """
    left_min = max(least / 2.0, NO_EDGE)
    right_min = min(max(least_of_target / 2.0, NO_EDGE), NO_TARGET_EDGE)
    left_value, right_value = np.where(left > 0, left, left_min), np.where(right > 0, right, right_min)
    if target_weight < 0.5:
        met = left_value * right_value ** (target_weight / (1.0 - target_weight))
    else:
        met = left_value ** ((1.0 - target_weight) / target_weight) * right_value
    there = (left_value > left_min) | (right_value > right_min)
    return np.where((left > 0) | (right > 0), np.where(there, met, left + right), 0.0).astype(np.float32)
