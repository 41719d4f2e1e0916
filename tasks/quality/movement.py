"""How far the rows of an older map moved in a newer one: what a reader who knows the old map has to find again."""

from typing import Any

import numpy as np

from pumascale.tasks.storage import arrays, rows

MOST_ROWS = 2**20


def movement(before: str, after: str) -> dict[str, Any]:
    """Distances between the places of the same rows in two maps.

    Parameters
    ----------
    before, after : str
        URLs of the coordinates (n, n_components) and (m, n_components); row i is the same row in both.

    Returns
    -------
    dict
        `median` and `percentile_95` of the distances, in units of the map; `median_share` and `percentile_95_share`
        of the older map's `width`, the larger of its sides; `rows`, the number placed in both, of a sample of a
        million where there are more. Empty without any, or when the maps have not the same number of components.
    """
    old, new = arrays.open_array(before), arrays.open_array(after)
    n_rows = min(old.shape[0], new.shape[0])
    if old.shape[1:] != new.shape[1:]:
        return {}
    ids = np.arange(n_rows) if n_rows <= MOST_ROWS else rows.sample(n_rows, MOST_ROWS)
    here, there = rows.read_ids(old, ids), rows.read_ids(new, ids)
    placed = np.isfinite(here).all(axis=1) & np.isfinite(there).all(axis=1)
    if not placed.any():
        return {}
    moved = np.linalg.norm(there[placed] - here[placed], axis=1)
    width = float(np.ptp(here[placed], axis=0).max())
    median, most = (float(value) for value in np.percentile(moved, [50, 95]))
    figures = {"median": median, "percentile_95": most, "width": width, "rows": int(placed.sum())}
    shares = {"median_share": median / width, "percentile_95_share": most / width} if width else {}
    return figures | shares
