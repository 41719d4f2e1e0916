"""The training room's view of the graph: its edges one partition at a time, pruned and parted, never all in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import graph_store
from pumascale.tasks.training.sampling import Edges, joined, prune
from pumascale.tasks.training.splits import Split, split_edges


@dataclass(frozen=True)
class GraphEdges:
    """The edges of `graph` that training looks at; iterating reads a partition at a time."""

    graph: str  # URL
    is_held_out: NDArray[np.bool_]  # (n_rows,)
    heaviest: float  # weight
    n_epochs: int

    def __iter__(self) -> Iterator[Split]:
        return map(self.partition, range(graph_store.n_partitions(self.graph)))

    def partition(self, partition: int) -> Split:
        """The edges of one partition."""
        edges = prune(read_edges(self.graph, partition), self.heaviest, self.n_epochs)
        return split_edges(edges, self.is_held_out)

    def training(self) -> Iterator[Edges]:
        """The edges between trained rows."""
        return (split.training for split in self)


@dataclass(frozen=True)
class Survey:
    """What one reading of all edges tells: number and weight of those between trained rows, and the few others."""

    n_training: int
    training_weight: float
    in_training: NDArray[np.bool_]  # (n_rows,), the rows that have such an edge
    validation: Edges  # held-out rows are few, so these fit


def read_edges(graph: str, partition: int) -> Edges:
    """The edges of one partition, with global ids."""
    content = graph_store.read_partition(graph, partition)
    return Edges(content.rows[content.head], content.rows[content.tail], content.weight)


def heaviest_weight(graph: str) -> float:
    """The largest weight of the graph; 0 where it has no edge."""
    partitions = range(graph_store.n_partitions(graph))
    return max(float(read_edges(graph, partition).weight.max(initial=0)) for partition in partitions)


def survey(edges: GraphEdges) -> Survey:
    """Read all edges once."""
    n_training, weight, crossing = 0, 0.0, list[Edges]()
    in_training = np.zeros(len(edges.is_held_out), bool)
    for split in edges:
        in_training[split.training.head] = in_training[split.training.tail] = True
        n_training += len(split.training)
        weight += float(split.training.weight.sum(dtype=np.float64))
        crossing.append(split.validation)
    return Survey(n_training, weight, in_training, joined(crossing))
