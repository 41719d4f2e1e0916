"""How good a map is, on sampled rows: neighbour recall, trustworthiness, label accuracy, for trained and unseen rows.

Neighbours are always sought among the trained rows, the row itself excepted. Map and source are streamed; what memory
holds of all rows is a bit for each.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from pumascale.tasks.quality.ranks import data_ranks
from pumascale.tasks.quality.rows import Candidates, draw
from pumascale.tasks.storage import arrays, sources
from pumascale.tasks.storage.rows import read_ids

BLOCK_ROWS = 2**20  # of the map, among which neighbours are sought at once
MOST_CLASSES = 60  # of labels that are floats: more are a quantity, which the report shows as ranges
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
    points = arrays.open_array(embedding)
    candidates, unseen = placed_rows(points, held_out)
    n_candidates, n_features = len(candidates), int(np.prod(array.shape[1:]))
    if n_candidates < LEAST:
        return {}
    ids = {"trained": candidates.at(draw(n_candidates, sample, random_state, n_features))}
    if len(unseen):
        ids["held_out"] = unseen[draw(len(unseen), sample, random_state, n_features)]
    together = np.sort(np.concatenate(list(ids.values())))
    k = min(n_neighbors, (n_candidates - 1) // 2)
    nearest = map_neighbors(points, together, candidates, k)
    ranks = data_ranks(array, together, candidates, nearest, metric, metric_kwds or {}, on_progress)
    known = None if labels is None else sources.open_labels(labels)
    result: dict[str, Any] = {"n_neighbors": k}
    for kind, rows in ids.items():
        here = np.isin(together, rows)
        n = n_candidates + (kind == "held_out")  # an unseen row counts itself in, as a trained one does
        result[kind] = {
            "neighbor_recall": float((ranks[here] <= k).mean()),
            "trustworthiness": trustworthiness(ranks[here], n),
            "sample": len(rows),
        }
        accuracy = None if known is None else label_accuracy(known, rows, nearest[here])
        if accuracy is not None:
            result[kind]["label_accuracy"] = accuracy
    return result


def placed_rows(points: Any, held_out: NDArray[np.int64]) -> tuple[Candidates, NDArray[np.int64]]:
    """The trained rows that have a place in the map `points` (n, n_components), and the held-out ones, ascending."""
    placed, unseen, held_out = Candidates(points.shape[0]), [np.zeros(0, np.int64)], np.sort(held_out)
    for start, stop in arrays.row_blocks(points.shape[0], BLOCK_ROWS):
        finite = np.isfinite(arrays.read_rows(points, start, stop)).all(axis=1)
        held = held_out[slice(*np.searchsorted(held_out, (start, stop)))]
        unseen.append(held[finite[held - start]])
        placed.add(start, finite)
    placed.remove(held_out)
    return placed, np.concatenate(unseen)


def map_neighbors(points: Any, ids: NDArray[np.int64], candidates: Candidates, k: int) -> NDArray[np.int64]:
    """Ids of the k candidates nearest to each row in the map, the row itself excepted, int64 (m, k)."""
    queries, best = read_ids(points, ids), np.full((len(ids), 0), np.inf)
    found = np.zeros((len(ids), 0), np.int64)
    for start, stop in arrays.row_blocks(points.shape[0], BLOCK_ROWS):
        block = candidates.between(start, stop)
        if len(block):
            tree = NearestNeighbors(n_neighbors=min(k + 1, len(block)))
            distances, places = tree.fit(arrays.read_rows(points, start, stop)[block - start]).kneighbors(queries)
            best, found = np.hstack([best, distances]), np.hstack([found, block[places]])
            order = np.argsort(best, axis=1, kind="stable")[:, : k + 1]
            best, found = (np.take_along_axis(values, order, axis=1) for values in (best, found))
    # Drop the row itself; where it is not among the found ones, drop the farthest.
    itself = found == ids[:, None]
    itself[~itself.any(axis=1), -1] = True
    return np.asarray(found[~itself].reshape(len(ids), k))


def trustworthiness(ranks: NDArray[np.int64], n_rows: int) -> float:
    """1 less the mean penalty of neighbours in the map by their ranks (m, k) in the data, of `n_rows` rows."""
    k = ranks.shape[1]
    penalty = np.maximum(ranks - k, 0).sum() / len(ranks)
    return float(1.0 - penalty * 2.0 / (k * (2.0 * n_rows - 3.0 * k - 1.0)))


def label_accuracy(labels: Any, ids: NDArray[np.int64], nearest: NDArray[np.int64]) -> float | None:
    """Share of rows whose label, of (n,) stored ones, is the one that most of their nearest in the map have.

    NaN is no label: it has no vote, rows that have it or are near no other are left out. None where none is left, and
    for a quantity.
    """
    asked, places = np.unique(np.column_stack([ids, nearest]), return_inverse=True)
    kinds, codes = np.unique(arrays.read_ids(labels, asked), return_inverse=True)
    n_known = int((kinds == kinds).sum())  # NaN is not itself, and the last of the kinds
    if kinds.dtype.kind == "f" and n_known > MOST_CLASSES:
        return None
    codes = codes[places.reshape(len(ids), -1)]
    codes = codes[(codes[:, 0] < n_known) & (codes[:, 1:] < n_known).any(axis=1)]
    majority = [int(np.argmax(np.bincount(row, minlength=n_known)[:n_known])) for row in codes[:, 1:]]
    return float(np.mean(np.equal(majority, codes[:, 0]))) if majority else None
