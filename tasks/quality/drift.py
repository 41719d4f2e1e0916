"""Whether new rows are unlike the ones that a model was trained on: how far away their nearest trained row is.

One streamed pass over the trained rows, for a sample of both kinds; memory does not grow with the number of rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.quality.distances import EUCLIDEAN, distance_block, rounding
from pumascale.tasks.quality.ranks import except_itself
from pumascale.tasks.quality.rows import candidate_blocks, draw
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.rows import read_ids

PERCENTILE = 99.0


def drift(
    source: str,
    reference: str,
    *,
    first_new_row: int,
    n_trained: int | None = None,
    sample: int = 2000,
    metric: str = "euclidean",
    metric_kwds: dict[str, float] | None = None,
    random_state: int = 42,
) -> dict[str, Any]:
    """Share of new rows that are farther from every trained row than 99 % of the trained rows are from another.

    Parameters
    ----------
    source : str
        URL of the rows (n, ...); those from `first_new_row` on are new.
    reference : str
        URL of the trained rows.
    n_trained : int, optional
        How many rows of `reference` were trained on; None: all, or where it is `source` itself those before
        `first_new_row`.
    sample : int
        New rows, and trained rows, that are measured.

    Returns
    -------
    dict
        `drift` (0.01 is expected of rows like the trained ones), `threshold` (the 99th percentile), `median_trained`,
        `median_new` (distances to the nearest trained row), `sample_trained`, `sample_new`. Rows that are not finite
        are left out; empty without new rows.

    Raises
    ------
    InputError
        When the rows of both differ in shape, or there are fewer than 2 trained ones.
    """
    new, trained = arrays.open_source(source), arrays.open_source(reference)
    before = first_new_row if source == reference else trained.shape[0]
    n_trained = before if n_trained is None else min(n_trained, trained.shape[0])
    _check(source, new.shape, reference, trained.shape, n_trained)
    if first_new_row >= new.shape[0]:
        return {}
    n_features = int(np.prod(new.shape[1:]))
    known = draw(np.arange(n_trained), sample, random_state, n_features)
    fresh = draw(np.arange(first_new_row, new.shape[0]), sample, random_state, n_features)
    queries = np.concatenate([read_ids(trained, known), read_ids(new, fresh)])
    nearest = nearest_distances(trained, queries, known, n_trained, metric, metric_kwds or {})
    finite = np.isfinite(nearest)
    is_new = np.arange(len(queries)) >= len(known)
    return _compared(nearest[finite & ~is_new], nearest[finite & is_new])


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


def nearest_distances(
    trained: Any,
    queries: NDArray[np.float32],
    known: NDArray[np.int64],
    n_trained: int,
    metric: str,
    metric_kwds: dict[str, float],
) -> NDArray[np.float64]:
    """Distance of each query to its nearest trained row, float64 (q,); the first queries are the trained rows `known`.

    Distances that differ from 0 by rounding only are 0; those of rows that are not finite are NaN.
    """
    nearest = np.full(len(queries), np.inf)
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(queries).all(axis=1))
    queries = np.where(whole[:, None], queries, np.float32(0))
    for block, rows in candidate_blocks(trained, np.arange(n_trained), len(queries)):
        usable = np.isfinite(rows).all(axis=1)
        distances = distance_block(queries, rows[usable], metric, metric_kwds)
        except_itself(distances, known, block[usable])
        nearest = np.minimum(nearest, distances.min(axis=1, initial=np.inf))
    nearest[~whole] = np.nan
    nearest -= rounding(nearest[:, None], queries, metric)[:, 0]
    return np.sqrt(np.maximum(nearest, 0)) if metric in EUCLIDEAN else nearest


def _check(source: str, shape: tuple[int, ...], reference: str, trained: tuple[int, ...], n_trained: int) -> None:
    if shape[1:] != trained[1:]:
        raise InputError(
            f"{source} has rows of shape {shape[1:]}, the trained ones of {reference} have {trained[1:]}. "
            "Expected equal ones: give the source that the model was trained on."
        )
    if n_trained < 2:
        raise InputError(f"{reference} has {n_trained} trained rows. Expected 2 or more to compare new ones with.")
