"""How good a map is, on sampled rows: neighbour recall, trustworthiness, label accuracy, for trained and unseen rows.

Neighbours are always sought among the trained rows, the row itself excepted. The embedding is small (8 bytes a row) and
read whole; the source is streamed, so memory does not grow with n times the features.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from pumascale.tasks.quality.ranks import data_ranks
from pumascale.tasks.quality.rows import draw
from pumascale.tasks.storage import arrays, sources

LEAST = 3  # candidates: trustworthiness is defined for n_neighbors < n / 2


def _silent(step: str, done: int, total: int) -> None:
    pass


def measure(
    source: str,
    embedding: str,
    *,
    held_out: NDArray[np.int64],
    labels: str | None = None,
    metric: str = "euclidean",
    metric_kwds: dict[str, float] | None = None,
    n_neighbors: int = 15,
    sample: int = 2000,
    random_state: int = 42,
    on_progress: Callable[[str, int, int], None] = _silent,
) -> dict[str, Any]:
    """Measure a map against the data that it shows.

    Parameters
    ----------
    source, embedding : str
        URLs of the rows (n, ...) and of their coordinates, float32 (n, n_components); rows placed nowhere (NaN) are
        left out.
    held_out : int64 (h,)
        Ids of the rows that the encoder has not seen; may be empty.
    labels : str, optional
        URL of n labels.
    metric, metric_kwds
        The graph's: a dense metric of pynndescent and its arguments in their own order.

    Returns
    -------
    dict
        "n_neighbors" (fewer than asked for where there are few rows), and for "trained" and (where there are any)
        "held_out" rows `neighbor_recall` (share of the nearest in the map that are among the nearest in the data, or
        as near as the last of them), `trustworthiness` (Venna and Kaski 2001; ``sklearn.manifold.trustworthiness``,
        rows at one distance sharing a rank), `label_accuracy` (majority of the nearest in the map) and `sample`, the
        number of rows measured. Empty when fewer than 3 trained rows are placed.
    """
    array = sources.open_source(source)
    points = np.asarray(arrays.open_array(embedding)[:])
    placed = np.isfinite(points).all(axis=1)
    unseen = np.zeros(len(points), bool)
    unseen[held_out] = True
    candidates = np.flatnonzero(placed & ~unseen)
    if len(candidates) < LEAST:
        return {}
    n_features = int(np.prod(array.shape[1:]))
    kinds = {"trained": candidates, "held_out": np.flatnonzero(placed & unseen)}
    ids = {kind: draw(rows, sample, random_state, n_features) for kind, rows in kinds.items() if len(rows)}
    together = np.sort(np.concatenate(list(ids.values())))
    k = min(n_neighbors, (len(candidates) - 1) // 2)
    nearest = map_neighbors(points, together, candidates, k)
    ranks = data_ranks(array, together, candidates, nearest, metric, metric_kwds or {}, on_progress)
    known = None if labels is None else np.asarray(sources.open_labels(labels)[:])
    result: dict[str, Any] = {"n_neighbors": k}
    for kind, rows in ids.items():
        here = np.isin(together, rows)
        n = len(candidates) + (kind == "held_out")  # an unseen row counts itself in, as a trained one does
        result[kind] = {
            "neighbor_recall": float((ranks[here] <= k).mean()),
            "trustworthiness": trustworthiness(ranks[here], n),
            "sample": len(rows),
        }
        if known is not None:
            result[kind]["label_accuracy"] = label_accuracy(known, rows, nearest[here])
    return result


def map_neighbors(
    points: NDArray[np.float32], ids: NDArray[np.int64], candidates: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Ids of the k candidates nearest to each row in the map, the row itself excepted, int64 (m, k)."""
    tree = NearestNeighbors(n_neighbors=k + 1).fit(points[candidates])
    found = candidates[tree.kneighbors(points[ids], return_distance=False)]
    # Drop the row itself; where it is not among the found ones, drop the farthest.
    itself = found == ids[:, None]
    itself[~itself.any(axis=1), -1] = True
    return np.asarray(found[~itself].reshape(len(ids), k))


def trustworthiness(ranks: NDArray[np.int64], n_rows: int) -> float:
    """1 less the mean penalty of neighbours in the map by their ranks (m, k) in the data, of `n_rows` rows."""
    k = ranks.shape[1]
    penalty = np.maximum(ranks - k, 0).sum() / len(ranks)
    return float(1.0 - penalty * 2.0 / (k * (2.0 * n_rows - 3.0 * k - 1.0)))


def label_accuracy(labels: NDArray[Any], ids: NDArray[np.int64], nearest: NDArray[np.int64]) -> float:
    """Share of rows whose label is the one that most of their nearest in the map have."""
    _, codes = np.unique(labels, return_inverse=True)
    majority = np.array([int(np.argmax(np.bincount(row))) for row in codes[nearest]])
    return float((majority == codes[ids]).mean())
