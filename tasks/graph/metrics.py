"""Distances under those of pynndescent's dense metrics that rank rows, and what data each of them takes.

pynndescent takes 190 MB and 4 s to import, so only what needs it does; workers under most metrics of vectors do not.
"""

import inspect
from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pumascale.tasks.storage.errors import InputError, ValuesError, nearest_name

# From these distances on a neighbour makes no edge: umap.umap_.DISCONNECTION_DISTANCES.
DISCONNECTION_DISTANCES = {
    "correlation": 2.0, "cosine": 2.0, "hellinger": 1.0, "jaccard": 1.0, "bit_jaccard": 1.0, "dice": 1.0,
}  # fmt: skip
BINARY = {
    "jaccard",
    "dice",
    "matching",
    "kulsinski",
    "rogerstanimoto",
    "russellrao",
    "sokalmichener",
    "sokalsneath",
    "yule",
}
CONVERTED = 4096  # rows at once
SMALL = 1e-15  # norms: the squares of such values lose digits in 32 bits, or are 0
EUCLIDEAN = {"euclidean", "l2"}
OF_PRODUCTS = EUCLIDEAN | {"cosine"}  # distances that products of matrices give
NON_NEGATIVE = {
    "hellinger",
    "jensen_shannon",
    "jensen-shannon",
    "symmetric_kl",
    "symmetric-kl",
    "symmetric_kullback_liebler",
    "wasserstein_1d",
    "wasserstein-1d",
    "kantorovich_1d",
    "kantorovich-1d",
    "circular_wasserstein",
    "circular_kantorovich",
}
OF_SHARES = {metric for metric in NON_NEGATIVE if metric.endswith("1d") or metric.startswith("circular")}  # of a sum
OF_ARRAYS = "it takes an array as an argument, and graph.metric_kwds holds numbers"
NOT_SERVED = {
    **dict.fromkeys(("seuclidean", "standardised_euclidean", "mahalanobis", "wminkowski"), OF_ARRAYS),
    **dict.fromkeys(("weighted_minkowski", "wasserstein", "kantorovich", "sinkhorn"), OF_ARRAYS),
    **dict.fromkeys(("bit_hamming", "bit_jaccard"), "rows are compared as float32, not as packed bits"),
    "inner_product": "its distances are negative: take cosine",
    "true_angular": "it is largest for equal rows: take cosine, which ranks rows by the same angle",
    **dict.fromkeys(
        ("dot", "direct_cosine"), "it is negative for rows longer than 1: take cosine, the same for rows of length 1"
    ),
    "tsss": "it gives no number for equal rows: take cosine or euclidean",
}


def check_metric(metric: str, name: str = "graph.metric", also: tuple[str, ...] = ()) -> None:
    """Refuse a metric that pynndescent does not have (nor `also` holds), with the nearest one that it has."""
    if metric in OF_PRODUCTS:
        return
    if metric in NOT_SERVED:
        raise InputError(
            f"{name}={metric!r} is not served: {NOT_SERVED[metric]}. "
            "Expected another metric, or neighbours of your own (graph.precomputed_knn)."
        )
    from pynndescent.distances import named_distances

    known = [*also, *sorted(set(named_distances) - set(NOT_SERVED))]
    if metric not in known:
        raise InputError(
            f"{name}={metric!r} is unknown.{nearest_name(metric, known)} "
            f"Expected a dense metric of pynndescent: {', '.join(known)}."
        )


def check_arguments(metric: str, metric_kwds: dict[str, float], row_shape: tuple[int, ...]) -> None:
    """Refuse arguments that the metric does not have, and rows of a length that it has no meaning for."""
    if metric == "haversine" and int(np.prod(row_shape)) != 2:
        raise InputError(
            f"graph.metric='haversine' came with rows of shape {row_shape}. "
            "Expected 2 features, latitude and longitude in radians: choose another metric, or other rows."
        )
    names = _argument_names(metric) if metric_kwds else []
    if list(metric_kwds) != names[: len(metric_kwds)]:
        raise InputError(
            f"graph.metric_kwds={metric_kwds} came with graph.metric={metric!r}, whose arguments are "
            f"{', '.join(names) or 'none'}. Expected these names, in this order."
        )


def _argument_names(metric: str) -> list[str]:
    if metric in OF_PRODUCTS:
        return []
    from pynndescent.distances import named_distances

    return list(inspect.signature(named_distances[metric].py_func).parameters)[2:]


def check_values(metric: str, rows: NDArray[Any], source: str) -> None:
    """Refuse rows that the metric has no meaning for."""
    if metric in NON_NEGATIVE and (rows < 0).any():
        raise ValuesError(
            f"{source} has negative values, such as {rows.min():.4g}; metric {metric!r} is one of distributions. "
            "Expected values of 0 and more: choose another metric, or shift the data."
        )
    if metric in OF_SHARES and not rows.any(axis=1).all():
        raise ValuesError(
            f"{source} has rows of zeros; metric {metric!r} takes each value as a share of its row's sum. "
            "Expected a value above 0 in every row: choose another metric, or leave these rows out."
        )
    if metric in BINARY and not np.isin(rows, (0, 1)).all():
        raise ValuesError(
            f"{source} has values other than 0 and 1; metric {metric!r} compares sets. "
            "Expected binary rows: choose another metric, or threshold the data."
        )


def check_squares(rows: NDArray[np.float32], source: str) -> None:
    """Refuse values so large that squared distances between rows are no numbers of 32 bits, whatever the metric.

    Neighbours may be found without them, but a map of them cannot be learned.
    """
    with np.errstate(over="ignore"):
        is_small = np.isfinite(4 * np.einsum("ij,ij->i", rows, rows))
    if not is_small.all():
        raise ValuesError(
            f"{source} has values such as {np.abs(rows[~is_small]).max():.4g}, whose squares are no numbers of "
            "32 bits. Expected values up to some 1e18: divide all rows by a constant."
        )


def disconnection_distance(metric: str, asked: float | None) -> float:
    """The distance from which on neighbours make no edge: as asked for, or the metric's own bound."""
    return asked if asked is not None else DISCONNECTION_DISTANCES.get(metric, np.inf)


def points_of_squares(metric: str, *sets: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...] | None:
    """Points whose squared euclidean distances rank as the metric does, float32, per set of rows; None: there are none.

    By agreement rows of zeros have a cosine distance of 1 to all others: they lie on an axis of their own.
    """
    if metric in EUCLIDEAN:
        return sets
    if metric != "cosine":
        return None
    units = [_unit(rows) for rows in sets]
    empty = [np.asarray(~unit.any(axis=1)) for unit in units]
    if any(is_empty.any() for is_empty in empty):
        units = [np.column_stack([unit, is_empty]) for unit, is_empty in zip(units, empty, strict=True)]
    return tuple(units)


def distances_of_squares(squared: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """The metric's distances for squared ones of its points."""
    return np.asarray(squared / 2 if metric == "cosine" else np.sqrt(squared), np.float32)


def distance_block(
    queries: NDArray[np.float32], rows: NDArray[np.float32], metric: str, metric_kwds: dict[str, float]
) -> NDArray[np.float32]:
    """Distances of every query to every row, float32 (n_queries, n_rows)."""
    if metric in EUCLIDEAN:
        return _euclidean(queries, rows)
    if metric == "cosine":
        return _cosine(queries, rows)
    found = np.asarray(_pairwise(metric)(queries, rows, tuple(float(value) for value in metric_kwds.values())))
    if metric == "hellinger":  # of equal rows it is the root of 0, or by rounding of less
        np.nan_to_num(found, copy=False, nan=0.0)
    return np.asarray(np.maximum(found, 0), np.float32)  # correlation's may be below it, by rounding too


def _euclidean(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """By products in float64, some rows at a time: near rows stay apart."""
    asked, distances = queries.astype(np.float64), np.empty((len(queries), len(rows)), np.float32)
    for start in range(0, len(rows), CONVERTED):
        some = rows[start : start + CONVERTED].astype(np.float64)
        squared = _squares(asked)[:, None] + _squares(some) - 2 * asked @ some.T
        distances[:, start : start + CONVERTED] = np.sqrt(np.maximum(squared, 0))
    return distances


def _squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _cosine(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - cos; as in pynndescent, 0 between two rows of zeros and 1 between one of them and another."""
    a, b = _unit(queries), _unit(rows)
    distances = np.clip(1.0 - a @ b.T, 0.0, 2.0)
    empty, other = (np.asarray(~unit.any(axis=1)) for unit in (a, b))
    both = empty[:, None] & other[None, :]
    return np.where(both, np.float32(0.0), distances).astype(np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(rows, axis=1)
    tiny = norms < SMALL
    norms[tiny] = np.linalg.norm(rows[tiny].astype(np.float64), axis=1)
    return np.asarray(rows / np.where(norms > 0, norms, np.float32(1.0))[:, None], np.float32)


@cache
def _pairwise(metric: str) -> Any:
    """A compiled loop over pynndescent's own distance; its arguments go by position, as there."""
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
