"""The fuzzy union inside one partition: directed strengths to undirected edges, each once.

A k-nearest-neighbour edge is found in a partition that holds both its ends, so the reverse direction is looked up in
the same partition and no shuffle over all edges is needed. A pair that several partitions hold belongs to the first.
"""

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.graph.fuzzy import fuzzy_union

Edges = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def undirected_edges(
    head: NDArray[np.int64], tail: NDArray[np.int64], strength: NDArray[np.float32], n_rows: int, set_op_mix_ratio: float
) -> Edges:
    """Join directed edges to undirected ones.

    Parameters
    ----------
    head, tail : int64 (e,)
        Local ids in [0, n_rows), each ordered pair at most once.
    strength : float32 (e,)
        Membership strengths of the directed edges; those of 0 are no edges.

    Returns
    -------
    head, tail : int32 (u,)
        head < tail, ascending.
    weight : float32 (u,)
        Strength of the fuzzy union, above 0.
    """
    low, high = np.minimum(head, tail), np.maximum(head, tail)
    key = low * n_rows + high
    order = np.argsort(key, kind="stable")
    key, upward, strength = key[order], (head < tail)[order], strength[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    pair = np.cumsum(np.diff(key, prepend=-1) != 0) - 1
    forward, backward = np.zeros(len(first), np.float32), np.zeros(len(first), np.float32)
    forward[pair[upward]], backward[pair[~upward]] = strength[upward], strength[~upward]
    weight = fuzzy_union(forward, backward, set_op_mix_ratio)
    kept = weight > 0
    pairs = key[first][kept]
    return (pairs // n_rows).astype(np.int32), (pairs % n_rows).astype(np.int32), weight[kept]
