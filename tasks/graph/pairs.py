"""Pairs of rows, compiled: directed edges joined to undirected ones, and ids found where they stand."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy

SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Fibonacci hashing (Knuth, 6.4)

Edges = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def undirected_edges(
    head: NDArray[np.int64],
    tail: NDArray[np.int64],
    strength: NDArray[np.float32],
    n_rows: int,
    set_op_mix_ratio: float,
) -> Edges:
    """Join directed edges to undirected ones.

    Parameters
    ----------
    head, tail : int64 (e,)
        Local ids in [0, n_rows), each ordered pair at most once.
    strength : float32 (e,)
        Membership strengths of the directed edges.

    Returns
    -------
    head, tail : int32 (u,)
        head < tail, ascending.
    weight : float32 (u,)
        Strength of the fuzzy union, above 0.
    """
    first, second, forward, backward = pairs(head, tail, strength, n_rows)
    weight = fuzzy.fuzzy_union(forward, backward, set_op_mix_ratio)
    there = weight > 0
    return first[there], second[there], weight[there]


@njit(cache=True)
def pairs(
    head: NDArray[Any], tail: NDArray[Any], strength: NDArray[np.float32], n_rows: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Both directions of each pair side by side: the ends, ascending, and the strengths there and back (u,)."""
    smaller, larger = np.minimum(head, tail), np.maximum(head, tail)
    order = sorted_by(smaller, sorted_by(larger, np.arange(len(head)), n_rows), n_rows)
    ends, strengths, count = np.empty((2, len(head)), np.int32), np.zeros((2, len(head)), np.float32), 0
    for edge in order:
        if count == 0 or ends[0, count - 1] != smaller[edge] or ends[1, count - 1] != larger[edge]:
            ends[0, count], ends[1, count] = smaller[edge], larger[edge]
            count += 1
        strengths[0 if head[edge] < tail[edge] else 1, count - 1] = strength[edge]
    return ends[0, :count], ends[1, :count], strengths[0, :count], strengths[1, :count]


@njit(cache=True)
def sorted_by(keys: NDArray[Any], order: NDArray[np.int64], n_keys: int) -> NDArray[np.int64]:
    """The entries `order` sorted by their keys, which are below `n_keys`, equal ones as they stood: by counting."""
    begins, found = np.zeros(n_keys + 1, np.int64), np.empty(len(order), np.int64)
    for key in keys:
        begins[key + 1] += 1
    begins = np.cumsum(begins)
    for entry in order:
        found[begins[keys[entry]]] = entry
        begins[keys[entry]] += 1
    return found


def pair_keys(head: NDArray[Any], tail: NDArray[Any], n_rows: int) -> NDArray[np.int64]:
    """One number per undirected pair of local ids."""
    return np.asarray(np.minimum(head, tail).astype(np.int64) * n_rows + np.maximum(head, tail), np.int64)


def pair_ends(keys: NDArray[np.int64], n_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The smaller and the larger local id of each pair."""
    return (keys // n_rows).astype(np.int32), (keys % n_rows).astype(np.int32)


def both_directions(
    pair: NDArray[np.intp], n_pairs: int, is_upward: NDArray[np.bool_], strength: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Strengths from the smaller id of each pair to the larger one, and back, float32 (n_pairs,); 0: there is no edge.

    Parameters
    ----------
    pair : intp (e,)
        To which pair each directed edge belongs.
    is_upward : bool (e,)
        It goes from the smaller id to the larger.
    """
    forward, backward = np.zeros((2, n_pairs), np.float32)
    forward[pair[is_upward]], backward[pair[~is_upward]] = strength[is_upward], strength[~is_upward]
    return forward, backward


@njit(cache=True)
def places_in(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of the `wanted` stands in the distinct `ids`, int64 (w,); -1: nowhere.

    A table of hashes: a search among sorted ids misses the cache, and takes six times as long.
    """
    size = 4
    while size < 4 * len(ids):
        size *= 2
    table, shift = np.full(size, -1, np.int64), 64 - int(np.log2(size))
    for place in range(len(ids)):
        at = (np.uint64(ids[place]) * SPREAD) >> np.uint64(shift)
        while table[at] >= 0:
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        table[at] = place
    found = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        at = (np.uint64(wanted[i]) * SPREAD) >> np.uint64(shift)
        while table[at] >= 0 and ids[table[at]] != wanted[i]:
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        found[i] = table[at]
    return found
