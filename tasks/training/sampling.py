"""The training room's edge sampling: edges drawn by weight, 12 bytes per edge instead of umap-learn's 1,300 copies.

umap-learn repeats each edge `n_epochs * weight` times (52 KB per row). An alias table draws from the same
distribution in constant time, on the device: one random column and one random number per edge.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Edges:
    """Undirected edges: `head`, `tail` int64 row ids, `weight` float32, all (n_edges,)."""

    head: NDArray[np.int64]
    tail: NDArray[np.int64]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.weight)

    def at(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Edges":
        """The `chosen` edges, by mask or by index."""
        return Edges(self.head[chosen], self.tail[chosen], self.weight[chosen])

    def renumbered(self, number: NDArray[Any]) -> "Edges":
        """The same edges between rows that `number` calls otherwise."""
        return Edges(number[self.head], number[self.tail], self.weight)


def joined(parts: list[Edges]) -> Edges:
    """One after the other."""
    head, tail, weight = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("head", "tail", "weight")
    )
    return Edges(head, tail, weight)


def prune(edges: Edges, heaviest: float, n_epochs: int) -> Edges:
    """Drop the edges that umap-learn would draw less than once in `n_epochs`: below `heaviest / n_epochs`.

    Parameters
    ----------
    heaviest : float
        The largest weight of the whole graph.
    """
    return edges.at(edges.weight >= np.float32(heaviest) / n_epochs)


def default_n_epochs(n_rows: int) -> int:
    """umap-learn's: 500 for small data, 200 above 10,000 rows."""
    return 500 if n_rows <= 10_000 else 200


def n_draws(total_weight: float, n_epochs: int) -> int:
    """Edges that umap-learn draws in one training epoch: `n_epochs * weight` for both directions of each edge."""
    return int(2 * n_epochs * total_weight)


def alias_table(weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Build the alias table of `weight` by prefix sums.

    Light columns (below the mean) are filled up by heavy ones in order: the heavy column whose cumulated surplus covers
    the light columns' cumulated deficit so far. A heavy column that is overdrawn is filled by the next heavy one
    (Hübschle-Schneider and Sanders 2022, "Parallel weighted random sampling", section 4).

    Parameters
    ----------
    weight : float32 (n,)
        Not negative, at least one above 0.

    Returns
    -------
    keep : float32 (n,)
        Probability that a draw of column i stays i.
    alias : int32 (n,)
        What it becomes otherwise.
    """
    scaled = weight.astype(np.float64) * (len(weight) / weight.sum(dtype=np.float64))
    is_heavy = scaled >= 1
    is_heavy[np.argmax(scaled)] = True  # rounding may leave none
    light, heavy = np.flatnonzero(~is_heavy), np.flatnonzero(is_heavy)
    deficit, surplus = np.cumsum(1 - scaled[light]), np.cumsum(scaled[heavy] - 1)
    keep, alias = scaled.copy(), np.arange(len(weight))
    keep[heavy] = 1.0
    if len(light):
        filler = np.searchsorted(surplus, np.append(0, deficit[:-1]), side="left")
        alias[light] = heavy[np.minimum(filler, len(heavy) - 1)]
        drained = np.searchsorted(deficit, surplus, side="right")
        last = (drained >= len(light)) | (np.arange(len(heavy)) == len(heavy) - 1)
        overdraft = deficit[np.minimum(drained, len(light) - 1)] - surplus
        keep[heavy] = np.where(last, 1.0, 1.0 - overdraft)
        alias[heavy] = np.where(last, heavy, np.append(heavy[1:], heavy[-1]))
    return np.clip(keep, 0, 1).astype(np.float32), alias.astype(np.int32)
