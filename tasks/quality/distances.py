"""Distances to rank by: squared for the euclidean metric, which saves a square root per pair; others as they are.

Euclidean and cosine distances are one matrix product in float64: half as fast as float32, but near rows keep their
order, however far from the others they lie. Every other metric is pynndescent's own, compiled.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

EUCLIDEAN = ("euclidean", "l2")


def distance_block(
    queries: NDArray[np.float32], rows: NDArray[np.float32], metric: str, metric_kwds: dict[str, float]
) -> NDArray[Any]:
    """Distances of every query to every row, float64 or (pynndescent's) float32, shape (n_queries, n_rows)."""
    if metric in EUCLIDEAN:
        return _squared_euclidean(queries, rows)
    if metric == "cosine":
        return _cosine(queries, rows)
    return np.asarray(_compiled(metric)(queries, rows, _arguments(metric_kwds)))


def pair_distances(
    a: NDArray[np.float32], b: NDArray[np.float32], metric: str, metric_kwds: dict[str, float]
) -> NDArray[np.float64]:
    """Distances of a[i] to b[i], float64 (n_pairs,): equal to those of `distance_block` within `rounding`."""
    if metric in EUCLIDEAN:
        difference = a.astype(np.float64) - b
        return np.asarray(np.einsum("ij,ij->i", difference, difference))
    if metric == "cosine":
        one, other = unit(a), unit(b)
        zeros = ~one.any(axis=1) & ~other.any(axis=1)
        return np.where(zeros, 0.0, 1.0 - np.einsum("ij,ij->i", one, other))
    pairwise, arguments = _compiled(metric), _arguments(metric_kwds)
    return np.array([pairwise(a[i : i + 1], b[i : i + 1], arguments)[0, 0] for i in range(len(a))], np.float64)


def rounding(distances: NDArray[np.float64], queries: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    """How much two computations of one distance may differ, for distances (n_queries, k)."""
    if metric in EUCLIDEAN:
        centered = queries.astype(np.float64) - queries.mean(axis=0, dtype=np.float64)
        return np.asarray(1e-12 * (distances + np.einsum("ij,ij->i", centered, centered)[:, None]))
    return np.asarray(np.full_like(distances, 1e-12) if metric == "cosine" else 1e-6 * np.abs(distances))


def except_itself(distances: NDArray[Any], own: NDArray[np.int64]) -> None:
    """Set the distance of query i to row own[i] to infinity, in place; -1: there is no such row."""
    here = np.flatnonzero(own >= 0)
    distances[here, own[here]] = np.inf


def _squared_euclidean(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """(-2 a, |a|^2, 1) . (b, 1, |b|^2), about the queries' mean, so that no second pass over the block is needed."""
    center = queries.mean(axis=0, dtype=np.float64)
    a, b = queries - center, rows - center
    left = np.column_stack([-2.0 * a, np.einsum("ij,ij->i", a, a), np.ones(len(a))])
    right = np.column_stack([b, np.ones(len(b)), np.einsum("ij,ij->i", b, b)])
    return np.asarray(left @ right.T)


def _cosine(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cos; as in pynndescent, 0 between two rows of zeros and 1 between one of them and another."""
    a, b = unit(queries), unit(rows)
    distances = 1.0 - a @ b.T
    distances[np.ix_(~a.any(axis=1), ~b.any(axis=1))] = 0.0
    return np.asarray(distances)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of length 1, float64; those of zeros stay."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1.0))


def _arguments(metric_kwds: dict[str, float]) -> tuple[float, ...]:
    return tuple(float(value) for value in metric_kwds.values())


@cache
def _compiled(metric: str) -> Any:
    """A compiled loop over pynndescent's distance, whose arguments go by position, as there."""
    from numba import njit, prange
    from pynndescent.distances import named_distances

    distance = named_distances[metric]

    @njit(parallel=True)
    def pairwise(queries: Any, rows: Any, arguments: Any) -> Any:
        result = np.empty((queries.shape[0], rows.shape[0]), np.float32)
        for i in prange(queries.shape[0]):
            for j in range(rows.shape[0]):
                result[i, j] = distance(queries[i], rows[j], *arguments)
        return result

    return pairwise
