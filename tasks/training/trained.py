"""The training room's trained rows: those that a prototype network may look at, none of them in memory but a sample.

The rows of the source are read twice, in blocks: for the sample that prototypes are chosen from, and for the principal
components at which a layout starts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage.rows import gather, read_blocks
from pumascale.tasks.training import prototypes
from pumascale.tasks.training.adjacency import Adjacency
from pumascale.tasks.training.medoids import draw_sample, principal_axes
from pumascale.tasks.training.problem import Problem
from pumascale.tasks.training.sampling import Edges


@dataclass(frozen=True)
class Trained:
    """The rows that have an edge in training, renumbered from 0, their edges, and a sample that stands for all."""

    ids: NDArray[np.int64]  # (n_trained,) of the source, ascending
    adjacency: Adjacency
    n_prototypes: int
    sample: NDArray[np.int64]  # (m,) indices into ids, ascending
    sample_rows: NDArray[np.float32]  # (m, n_features), as `flat_rows` has them
    landmarks: NDArray[np.float32] | None  # (n_trained, n_components), NaN: free

    @property
    def sample_ids(self) -> NDArray[np.int64]:
        """The sample's ids in the source, int64 (m,), ascending."""
        return self.ids[self.sample]


def read_trained(problem: Problem, n_prototypes: int | None, seed: int) -> Trained:
    """Renumber the rows that have an edge between trained rows, and read what a layout needs of them."""
    ids, number = np.flatnonzero(problem.in_training), np.cumsum(problem.in_training, dtype=np.int32) - np.int32(1)

    def renumbered() -> Iterator[Edges]:
        for edges in problem.edges.training():
            yield Edges(number[edges.head], number[edges.tail], edges.weight)

    count = n_prototypes or prototypes.default_n_prototypes(len(ids))
    sample = draw_sample(problem.in_training, count, 4 * math.prod(problem.row_shape), seed)
    rows = flat_rows(gather(problem.source, sample), problem.metric)
    adjacency = Adjacency(len(ids), renumbered)
    return Trained(ids, adjacency, count, np.searchsorted(ids, sample), rows, _landmarks(problem, ids))


def flat_rows(rows: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Rows as `prototype_encoder` hands them to its attention, float32 (n, n_features)."""
    flat = rows.reshape(len(rows), -1)
    if metric not in prototypes.SPHERICAL_METRICS:
        return flat
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12), np.float32)


def principal_components(problem: Problem, trained: Trained, n_components: int, seed: int) -> NDArray[np.float32]:
    """The first coordinates of all trained rows along the sample's principal axes.

    Returns
    -------
    float32 (n_trained, at most n_components)
    """
    mean = trained.sample_rows.mean(axis=0)
    axes = principal_axes(trained.sample_rows, trained.sample_ids, n_components, seed)
    components, done = np.empty((len(trained.ids), len(axes)), np.float32), 0
    for ids, rows in read_blocks(problem.source, trained.ids):
        components[done : done + len(ids)] = flat_rows(rows, problem.metric) @ axes.T - mean @ axes.T
        done += len(ids)
    return components


def _landmarks(problem: Problem, ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The landmarks of the trained rows; None where not one of them is held."""
    if problem.landmarks is None or np.isnan(problem.landmarks[ids]).any(axis=1).all():
        return None
    return problem.landmarks[ids]
