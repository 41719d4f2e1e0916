"""Sorted runs: how a task hands rows or edges to many others, each in one range read.

    writer: entries sorted by owner, beside `offsets`          owner o: [offsets[o], offsets[o + 1]) of every run

The one shuffle of this room: blocks to partitions (rows, stray edges), partitions to blocks (strongest edges), and
both to buckets of equal rows. Objects are as many as writers, not as pairs of writer and owner.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph.plan import read
from pumascale.tasks.storage import arrays


def write_run(url: str, owner: NDArray[Any], n_owners: int, content: dict[str, NDArray[Any]]) -> None:
    """Write entries sorted by owner, in their order for each.

    Parameters
    ----------
    owner : integers (m,)
        Who reads the entry, below n_owners; entries of owner -1 nobody reads.
    content : dict
        Arrays (m, ...) by name.
    """
    order = np.argsort(owner, kind="stable")
    arrays.write_whole(f"{url}/offsets", np.searchsorted(owner[order], np.arange(n_owners + 1)))
    for name, values in content.items():
        arrays.write_whole(f"{url}/{name}", values[order])


def read_runs(runs: Iterable[str], owner: int, names: Sequence[str]) -> list[NDArray[Any]]:
    """All entries of an owner, run after run, one array (m, ...) per name."""
    parts: list[list[NDArray[Any]]] = [[] for _ in names]
    for run in runs:
        first, last = read(f"{run}/offsets", slice(owner, owner + 2)).tolist()
        if first < last or not parts[0]:  # an empty part is kept where it is the first: it has the dtype
            for part, name in zip(parts, names, strict=True):
                part.append(read(f"{run}/{name}", slice(first, last)))
    return [np.concatenate(part) for part in parts]
