"""The training room's trained rows: those that a prototype network may look at, none of them in memory but a sample.

The rows of the source are read twice, in blocks: for the sample that prototypes and principal axes are chosen from, and
for the coordinates along these axes, at which a layout starts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage.rows import read_blocks, read_ids
from pumascale.tasks.training import prototypes
from pumascale.tasks.training.adjacency import Adjacency
from pumascale.tasks.training.medoids import draw_sample
from pumascale.tasks.training.problem import Problem
from pumascale.tasks.training.sampling import Edges


@dataclass(frozen=True)
class Trained:
    """The rows that have an edge in training, renumbered from 0, and their edges."""

    ids: NDArray[np.int64]  # (n_trained,) of the source, ascending
    adjacency: Adjacency
    landmarks: NDArray[np.float32] | None  # (n_trained, n_components), NaN: free


@dataclass(frozen=True)
class Sample:
    """Trained rows that stand for all."""

    ids: NDArray[np.int64]  # (m,) of the source, ascending
    rows: NDArray[np.float32]  # (m, n_features), as `flat_rows` has them


def read_trained(problem: Problem) -> Trained:
    """Renumber the rows that have an edge between trained rows, and read what a layout needs of them."""
    ids, number = np.flatnonzero(problem.in_training), np.cumsum(problem.in_training, dtype=np.int32) - np.int32(1)

    def renumbered() -> Iterator[Edges]:
        for edges in problem.edges.training():
            yield Edges(number[edges.head], number[edges.tail], edges.weight)

    return Trained(ids, Adjacency(len(ids), renumbered), _landmarks(problem, ids))


def read_sample(problem: Problem, n_prototypes: int, seed: int) -> Sample:
    """Draw and read the rows that `n_prototypes` prototypes are chosen from."""
    ids = draw_sample(problem.in_training, n_prototypes, 4 * math.prod(problem.row_shape), seed)
    return Sample(ids, flat_rows(read_ids(problem.source, ids), problem.metric))


def flat_rows(rows: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Rows as `prototype_encoder` hands them to its attention, float32 (n, n_features)."""
    flat = rows.reshape(len(rows), -1)
    if metric not in prototypes.SPHERICAL_METRICS:
        return flat
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12), np.float32)


def principal_components(
    problem: Problem, ids: NDArray[np.int64], mean: NDArray[np.float32], axes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Coordinates of the rows `ids` (n,) along `axes` (m, n_features) from `mean` (n_features,), float32 (n, m)."""
    components, done = np.empty((len(ids), len(axes)), np.float32), 0
    for some, rows in read_blocks(problem.source, ids):
        components[done : done + len(some)] = flat_rows(rows, problem.metric) @ axes.T - mean @ axes.T
        done += len(some)
    return components


def _landmarks(problem: Problem, ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The landmarks of the trained rows; None where not one of them is held."""
    if problem.landmarks is None or np.isnan(problem.landmarks[ids]).any(axis=1).all():
        return None
    return problem.landmarks[ids]
