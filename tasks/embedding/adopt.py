"""What an older embedding has finished need not be computed again: its full shards are taken over, byte for byte.

Appended rows change only the last, partial shard and add new ones, so an update encodes those alone.
"""

from typing import Any

import zarr

from pumascale.tasks.embedding.blocks import Range, create_target, finished_shards, note_shard, shard_rows
from pumascale.tasks.storage import arrays, chunk_objects, urls

# A first version of few rows has small shards; when the map has outgrown them so much, all of it is encoded anew.
MOST_SMALL_SHARDS = 64


def adopt_shards(previous: str, target: str, n_rows: int, n_unchanged: int, *, non_finite: bool) -> int:
    """Copy the full shards of the array `previous` into the new array `target` of `n_rows` rows, with their receipts.

    `encode` into the same target, with the same model, then goes on behind them.

    Parameters
    ----------
    n_unchanged : int
        Only shards of the first `n_unchanged` rows are taken over.
    non_finite : bool
        Take over shards with NaN coordinates too; otherwise `encode` meets their rows again and refuses them.

    Returns
    -------
    int
        Rows taken over.
    """
    old = arrays.open_array(previous)
    shard = chunk_objects.object_rows(old)
    if shard < shard_rows(old.shape[1:], n_rows) and n_rows > MOST_SMALL_SHARDS * shard:
        return 0
    finished = {rows: n_bad for rows, n_bad in finished_shards(previous, old).items() if non_finite or not n_bad}
    full = {rows: finished[rows] for rows in finished if rows[1] - rows[0] == shard and rows[1] <= n_unchanged}
    if not full:
        return 0
    names = getattr(old.metadata, "dimension_names", None)
    new = create_target(target, (n_rows, *old.shape[1:]), shard, names, dict(old.attrs))
    if chunk_objects.object_rows(new) != shard:  # begun by a killed run that took nothing over
        return 0
    done = finished_shards(target, new)  # by an update that was killed
    return shard * sum(rows in done or _copy(previous, target, new, rows, n_bad) for rows, n_bad in full.items())


def _copy(previous: str, target: str, new: zarr.Array[Any], rows: Range, n_bad: int) -> bool:
    """Copy one shard and note it; False where another run has dropped the older version meanwhile."""
    name = chunk_objects.object_name(new, rows[0])
    data = urls.read_bytes(urls.join(previous, name))
    if data is None:
        return False
    urls.write_bytes(urls.join(target, name), data)
    note_shard(target, new, rows, n_bad)
    return True
