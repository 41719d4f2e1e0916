"""The training room's view of the graph: its edges one partition at a time, pruned and parted, never all in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import graph_store
from pumascale.tasks.storage.ahead import ahead
from pumascale.tasks.training.progress import Progress
from pumascale.tasks.training.sampling import Edges, joined, prune
from pumascale.tasks.training.splits import Split, split_edges

AHEAD = 4  # partitions: an object store takes its time for each


@dataclass(frozen=True)
class GraphEdges:
    """The edges of `graph` that training looks at; iterating reads a few partitions ahead, and tells how far it is."""

    graph: str  # URL
    is_held_out: NDArray[np.bool_]  # (n_rows,)
    heaviest: float  # weight
    n_epochs: int
    on_progress: Progress

    def __iter__(self) -> Iterator[Split]:
        count = graph_store.n_partitions(self.graph)
        for done, split in enumerate(ahead(self.partition, range(count), AHEAD), start=1):
            self.on_progress("edges", done, count, {})
            yield split

    def partition(self, partition: int) -> Split:
        """The edges of one partition."""
        edges = prune(read_edges(self.graph, partition), self.heaviest, self.n_epochs)
        return split_edges(edges, self.is_held_out)

    def neighbourhoods(self) -> Iterator[NDArray[np.int64]]:
        """Ids of the rows of each partition."""
        read = partial(graph_store.read_ids, self.graph)
        return ahead(read, range(graph_store.n_partitions(self.graph)), AHEAD)

    def training(self) -> Iterator[Edges]:
        """The edges between trained rows."""
        return (split.training for split in self)


@dataclass(frozen=True)
class Survey:
    """What one reading of all edges tells: number and weight of those between trained rows, and the few others."""

    n_training: int
    training_weight: float
    degrees: NDArray[np.int32]  # (n_rows,), how many such edges each row has
    validation: Edges  # held-out rows are few, so these fit


def read_edges(graph: str, partition: int) -> Edges:
    """The edges of one partition, with global ids."""
    content = graph_store.read_partition(graph, partition)
    return Edges(content.rows[content.head], content.rows[content.tail], content.weight)


def survey(edges: GraphEdges) -> Survey:
    """Read all edges once."""
    n_training, weight, crossing = 0, 0.0, list[Edges]()
    degrees = np.zeros(len(edges.is_held_out), np.int32)
    for split in edges:
        np.add.at(degrees, split.training.head, 1)
        np.add.at(degrees, split.training.tail, 1)
        n_training += len(split.training)
        weight += float(split.training.weight.sum(dtype=np.float64))
        crossing.append(split.validation)
    return Survey(n_training, weight, degrees, joined(crossing))
