"""How good a map is, on sampled rows: neighbour recall, trustworthiness, label accuracy, for trained and unseen rows.

Neighbours are always sought among the trained rows, the row itself excepted. The embedding is small (8 bytes a row) and
read whole; the source is read once, block by block, so memory does not grow with n times the features.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from pumascale.tasks.quality.ranks import Ranks, scan_source
from pumascale.tasks.storage import arrays


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
        URLs of the rows (n, ...) and of their coordinates, float32 (n, n_components).
    held_out : int64 (h,)
        Ids of the rows that the encoder has not seen; may be empty.
    labels : str, optional
        URL of n labels.

    Returns
    -------
    dict
        "trained" and (where there are any) "held_out", each with `neighbor_recall` (share of the nearest in the data that
        are among the nearest in the map), `trustworthiness` (Venna and Kaski 2001; ``sklearn.manifold``'s),
        `label_accuracy` (majority of the nearest in the map) and `sample`, the number of rows measured.
    """
    points = np.asarray(arrays.open_array(embedding)[:])
    placed = np.isfinite(points).all(axis=1)
    unseen = np.zeros(len(points), bool)
    unseen[held_out] = True
    candidates = np.flatnonzero(placed & ~unseen)
    kinds = {"trained": candidates, "held_out": np.flatnonzero(placed & unseen)}
    ids = {kind: draw(rows, sample, random_state) for kind, rows in kinds.items() if len(rows)}
    together = np.concatenate(list(ids.values()))
    k = min(n_neighbors, len(candidates) - 1)
    nearest = map_neighbors(points, together, candidates, k)
    ranks = scan_source(source, together, candidates, nearest, k, metric, metric_kwds or {}, on_progress)
    known = None if labels is None else np.asarray(arrays.open_labels(labels)[:])
    result: dict[str, Any] = {"n_neighbors": k}
    for kind, rows in ids.items():
        here = np.isin(together, rows)
        result[kind] = _figures(ranks, nearest, here, len(candidates), kind == "trained") | {"sample": len(rows)}
        if known is not None:
            result[kind]["label_accuracy"] = label_accuracy(known, together[here], nearest[here])
    return result


def draw(rows: NDArray[np.int64], sample: int, random_state: int) -> NDArray[np.int64]:
    """At most `sample` of `rows`, ascending."""
    generator = np.random.default_rng(random_state)
    return np.sort(generator.choice(rows, min(sample, len(rows)), replace=False))


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


def _figures(
    ranks: Ranks, nearest: NDArray[np.int64], here: NDArray[np.bool_], n_candidates: int, trained: bool
) -> dict[str, float]:
    k = nearest.shape[1]
    hits = (ranks.data_neighbors[here][:, :, None] == nearest[here][:, None, :]).any(axis=2)
    n = n_candidates if trained else n_candidates + 1  # an unseen row counts itself in as sklearn counts a trained one
    penalty = np.maximum(ranks.ranks[here] - k, 0).sum() / here.sum()
    scale = 2.0 / (k * (2.0 * n - 3.0 * k - 1.0))
    return {"neighbor_recall": float(hits.mean()), "trustworthiness": float(1.0 - scale * penalty)}


def label_accuracy(labels: NDArray[Any], ids: NDArray[np.int64], nearest: NDArray[np.int64]) -> float:
    """Share of rows whose label is the one that most of their nearest in the map have."""
    _, codes = np.unique(labels, return_inverse=True)
    votes = codes[nearest]
    majority = np.array([np.bincount(row).argmax() for row in votes])
    return float((majority == codes[ids]).mean())
