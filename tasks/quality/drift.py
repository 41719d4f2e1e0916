"""Whether new rows are unlike the ones that a model was trained on: how far from them, and how badly the map fits.

One streamed pass over the trained rows, for a sample of each kind, and one for the places of those found nearest.
Memory holds the samples, and a bit for each trained row. Of more than a million of them a million random ones stand for
all: of 100 M, comparing took hours. They are sparser, so distances are larger, for new and trained rows alike.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.quality.distances import EUCLIDEAN, distance_block, except_itself, rounding
from pumascale.tasks.quality.edge_loss import Fit, edge_loss, keep_nearest, strengths
from pumascale.tasks.quality.ranks import places
from pumascale.tasks.quality.rows import Candidates, all_but, candidate_blocks, draw
from pumascale.tasks.storage import rows as stored
from pumascale.tasks.storage import sources
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.rows import read_blocks, read_ids

PERCENTILE = 99.0
MOST_CANDIDATES = 2**20  # trained rows that others are compared with
BATCH_ROWS = 1024  # through the encoder at once


def drift(
    source: str,
    reference: str,
    *,
    first_new_row: int,
    n_trained: int | None = None,
    fit: Fit | None = None,
    sample: int = 2000,
    metric: str = "euclidean",
    metric_kwds: dict[str, float] | None = None,
    random_state: int = 42,
) -> dict[str, Any]:
    """Share of new rows that are farther from every trained row than 99 % of the trained rows are from another.

    Of more than 2^20 trained rows, here and below, as many random ones stand for all.

    Parameters
    ----------
    source : str
        URL of the rows (n, ...); those from `first_new_row` on are new.
    reference : str
        URL of the trained rows.
    n_trained : int, optional
        How many rows of `reference` were trained on; None: all, or where it is `source` itself those before
        `first_new_row`.
    fit : Fit, optional
        The model, for the losses. Its held-out rows are no trained ones.
    sample : int
        New rows, trained rows and held-out rows that are measured.

    Returns
    -------
    dict
        `drift` (0.01 is expected of rows like the trained ones), `threshold` (the 99th percentile), `median_trained`,
        `median_new` (distances to the nearest trained row), `sample_trained`, `sample_new`; with `fit` also
        `edge_loss`, of the new rows, and `held_out_edge_loss`, which it is near where the map fits new rows as it fits
        any that it has not seen. Rows that are not finite are left out; empty without new rows.

    Raises
    ------
    InputError
        When the rows of both differ in shape, or there are fewer than 2 trained ones.
    """
    new, trained = sources.open_source(source), sources.open_source(reference)
    before = first_new_row if source == reference else trained.shape[0]
    n_trained = before if n_trained is None else min(n_trained, trained.shape[0])
    _check(source, new.shape, reference, trained.shape, n_trained)
    if first_new_row >= new.shape[0]:
        return {}
    n_features = int(np.prod(new.shape[1:]))
    held_out = np.empty(0, np.int64) if fit is None else fit.held_out[fit.held_out < n_trained]
    candidates = _candidates(n_trained, held_out)
    n_candidates, n_new = len(candidates), new.shape[0] - first_new_row
    known = candidates.at(draw(n_candidates, sample, random_state, n_features))
    held = held_out[draw(len(held_out), sample, random_state, n_features)]
    fresh = first_new_row + draw(n_new, sample, random_state, n_features)
    queries = np.concatenate([read_ids(trained, known), read_ids(trained, held), read_ids(new, fresh)])
    k = 1 if fit is None else max(1, min(fit.n_neighbors, n_candidates) - 1)
    distances, ids = nearest_rows(trained, queries, known, candidates, k, metric, metric_kwds or {})
    finite = np.isfinite(distances[:, -1])
    kinds = np.repeat(["trained", "held_out", "new"], [len(known), len(held), len(fresh)])
    found = _compared(distances[finite & (kinds == "trained"), 0], distances[finite & (kinds == "new"), 0])
    if fit is None or not found:
        return found
    kinds[~finite] = ""
    return found | _losses(trained, fit, _encode(fit, queries), kinds, distances, ids)


def _candidates(n_trained: int, held_out: NDArray[np.int64]) -> Candidates:
    """The trained rows, or a million of them."""
    candidates = all_but(n_trained, held_out)
    n_candidates = len(candidates)
    if n_candidates > MOST_CANDIDATES:
        candidates.keep(candidates.at(stored.sample(n_candidates, MOST_CANDIDATES)))
    return candidates


def _compared(before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, Any]:
    """The figures of the distances of trained rows and of new ones."""
    if not len(before) or not len(after):
        return {}
    threshold = float(np.percentile(before, PERCENTILE))
    return {
        "drift": float((after > threshold * (1 + 1e-6)).mean()),
        "threshold": threshold,
        "median_trained": float(np.median(before)),
        "median_new": float(np.median(after)),
        "sample_trained": len(before),
        "sample_new": len(after),
    }


def _losses(
    trained: Any,
    fit: Fit,
    places: NDArray[np.float32],
    kinds: NDArray[np.str_],
    distances: NDArray[np.float64],
    tails: NDArray[np.int64],
) -> dict[str, float]:
    """The losses of new and of held-out rows; random pairs end in trained rows anywhere, the same for both."""
    rows = {"edge_loss": kinds == "new", "held_out_edge_loss": kinds == "held_out"}
    anywhere = places[kinds == "trained"]
    return {
        name: _loss(trained, fit, distances[mine], tails[mine], places[mine], anywhere)
        for name, mine in rows.items()
        if mine.any()
    }


def _loss(
    trained: Any,
    fit: Fit,
    distances: NDArray[np.float64],
    tails: NDArray[np.int64],
    heads: NDArray[np.float32],
    anywhere: NDArray[np.float32],
) -> float:
    """The loss of rows at `heads`, with edges to the trained rows `tails` (m, k), and pairs to those at `anywhere`."""
    ids = np.unique(tails)
    places = np.concatenate([_encode(fit, rows) for _, rows in read_blocks(trained, ids)])
    attracted = np.square(heads[:, None] - places[np.searchsorted(ids, tails)], dtype=np.float64).sum(axis=-1)
    drawn = np.random.default_rng(0).integers(0, len(anywhere), (len(heads), tails.shape[1]))
    repelled = np.square(heads[:, None] - anywhere[drawn], dtype=np.float64).sum(axis=-1)
    return edge_loss(strengths(distances).ravel(), attracted.ravel(), repelled.ravel(), fit)


def _encode(fit: Fit, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([fit.encoder(rows[at : at + BATCH_ROWS]) for at in range(0, len(rows), BATCH_ROWS)])


def nearest_rows(
    trained: Any,
    queries: NDArray[np.float32],
    known: NDArray[np.int64],
    candidates: Candidates,
    k: int,
    metric: str,
    metric_kwds: dict[str, float],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each query's nearest candidates (ascending ids): distances float64 (q, k), ascending, and ids int64 (q, k).

    The first queries are the trained rows `known`, each no candidate for itself. Distances that differ from 0 by
    rounding only are 0; those of rows that are not finite are NaN, and infinity where there are too few candidates.
    """
    best, ids = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1)
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(queries).all(axis=1))
    queries = np.where(whole[:, None], queries, np.float32(0))
    for block, rows in candidate_blocks(trained, candidates, len(queries)):
        usable = np.isfinite(rows).all(axis=1)
        distances = distance_block(queries, rows[usable], metric, metric_kwds)
        except_itself(distances, places(known, block[usable]))
        keep_nearest(best, ids, distances, block[usable])
    best[~whole] = np.nan
    best = np.maximum(best - rounding(best, queries, metric), 0)
    return np.sqrt(best) if metric in EUCLIDEAN else best, ids


def _check(source: str, shape: tuple[int, ...], reference: str, trained: tuple[int, ...], n_trained: int) -> None:
    if shape[1:] != trained[1:]:
        raise InputError(
            f"{source} has rows of shape {shape[1:]}, the trained ones of {reference} have {trained[1:]}. "
            "Expected equal ones: give the source that the model was trained on."
        )
    if n_trained < 2:
        raise InputError(f"{reference} has {n_trained} trained rows. Expected 2 or more to compare new ones with.")
