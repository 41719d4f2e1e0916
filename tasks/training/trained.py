"""The training room's trained rows: those that a prototype network may look at, none of them in memory but a sample.

The rows of the source are read twice, in blocks: for the sample that prototypes and principal axes are chosen from, and
for the coordinates along these axes, at which a layout starts.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage.rows import read_blocks, read_ids
from pumascale.tasks.training import prototypes
from pumascale.tasks.training.adjacency import Adjacency
from pumascale.tasks.training.medoids import draw_sample
from pumascale.tasks.training.problem import Problem


@dataclass(frozen=True)
class Trained:
    """The rows that have an edge in training, numbered neighbourhood by neighbourhood, and their edges.

    Rows that pull each other then lie near each other in memory: in the order of the source, an epoch of ten million
    rows was mostly waiting for it.
    """

    ids: NDArray[np.int64]  # (n_trained,) of the source, by number
    adjacency: Adjacency
    landmarks: NDArray[np.float32] | None  # (n_trained, n_components), NaN: free

    def numbers_of(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the trained rows `wanted` (ascending), in their order."""
        found = np.flatnonzero(np.isin(self.ids, wanted))
        return found[np.argsort(self.ids[found])]


@dataclass(frozen=True)
class Sample:
    """Trained rows that stand for all."""

    ids: NDArray[np.int64]  # (m,) of the source, ascending
    rows: NDArray[np.float32]  # (m, n_features), as `flat_rows` has them, from their center
    center: NDArray[np.float32]  # (n_features,)


def read_trained(problem: Problem) -> Trained:
    """Number the rows that have an edge between trained rows, and read what a layout needs of them."""
    ids, number = _by_neighbourhood(problem), np.full(problem.n_rows, -1, np.int32)
    number[ids] = np.arange(len(ids), dtype=np.int32)
    parts = (edges.renumbered(number) for edges in problem.edges.training())
    return Trained(ids, Adjacency(problem.degrees[ids], parts), _landmarks(problem, ids))


def _by_neighbourhood(problem: Problem) -> NDArray[np.int64]:
    """Ids of the rows that have an edge in training, each with the first partition of the graph that holds it."""
    is_left, ids = problem.degrees > 0, list[NDArray[np.int64]]()
    for rows in problem.edges.neighbourhoods():
        ids.append(rows[is_left[rows]])
        is_left[rows] = False
    return np.concatenate(ids)


def read_sample(problem: Problem, n_prototypes: int, seed: int) -> Sample:
    """Draw and read the rows that `n_prototypes` prototypes are chosen from."""
    ids = draw_sample(problem.degrees > 0, n_prototypes, 4 * math.prod(problem.row_shape), seed)
    rows = flat_rows(read_ids(problem.source, ids), problem.metric)
    center = np.median(rows[:: 1 + len(rows) // 1000], axis=0)  # one row far away would take the mean along
    rows -= center
    return Sample(ids, rows, center)


def flat_rows(rows: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Rows as `prototype_encoder` hands them to its attention, float32 (n, n_features)."""
    flat = rows.reshape(len(rows), -1)
    if metric not in prototypes.SPHERICAL_METRICS:
        return flat
    if metric == "correlation":
        flat = flat - flat.mean(axis=1, keepdims=True)
    flat = flat / np.maximum(np.abs(flat).max(axis=1, keepdims=True), prototypes.LEAST)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12), np.float32)


def principal_components(
    problem: Problem, ids: NDArray[np.int64], mean: NDArray[np.float32], axes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Coordinates of the rows `ids` (n,) along `axes` (m, n_features) from `mean` (n_features,), float32 (n, m)."""
    components, order, done = np.empty((len(ids), len(axes)), np.float32), np.argsort(ids), 0
    for some, rows in read_blocks(problem.source, ids[order]):
        components[order[done : done + len(some)]] = (flat_rows(rows, problem.metric) - mean) @ axes.T
        done += len(some)
    return components


def _landmarks(problem: Problem, ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The landmarks of the trained rows; None where not one of them is held."""
    if problem.landmarks is None or np.isnan(problem.landmarks[ids]).any(axis=1).all():
        return None
    return problem.landmarks[ids]
