"""Nearer: the counts of float64 distances, whatever float32 products make of the rows."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.quality import nearer as room
from pumascale.tasks.quality.distances import distance_block, rounding
from pumascale.tasks.quality.nearer import Nearer

NOWHERE = np.full(40, -1)


def counted(rows: NDArray[np.float32], limits: NDArray[np.float64], metric: str, own: NDArray[np.int64]) -> Any:
    nearer = Nearer(rows[:40], limits, metric, {})
    for start, stop in ((0, 300), (300, len(rows))):
        nearer.add(rows[start:stop], own if start == 0 else NOWHERE)
    return np.cumsum(nearer.counts[:, :-1], axis=1)


def naive(rows: NDArray[np.float32], limits: NDArray[np.float64], metric: str, own: NDArray[np.int64]) -> Any:
    distances = distance_block(rows[:40], rows, metric, {})
    for i, j in enumerate(own):
        if j >= 0:
            distances[i, j] = np.inf
    return (distances[:, None, :] < limits[:, :, None]).sum(axis=2)


def made(kind: str) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    rows = random.normal(size=(1000, 24))
    if kind == "far from 0":
        rows += 1000
    if kind == "in clusters":
        rows += 1e4 * (np.arange(1000) % 3)[:, None]
    if kind == "copies":
        rows = rows[np.arange(1000) % 50]
    scale = {"tiny": 1e-25, "huge": 1e25}.get(kind, 1)
    return (scale * rows).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("kind", ["normal", "far from 0", "in clusters", "copies", "tiny", "huge"])
def test_counts_are_those_of_the_distances(kind: str, metric: str) -> None:
    rows, own = made(kind), np.arange(40)
    own[7] = -1
    # Limits that are distances of rows: of products in float32, about half would take them for the other side.
    limits = np.sort(distance_block(rows[:40], rows, metric, {})[:, 100:900:100], axis=1)
    limits -= rounding(limits, rows[:40], metric)
    np.testing.assert_array_equal(counted(rows, limits, metric, own), naive(rows, limits, metric, own))


def test_rows_of_zeros_have_the_cosine_distance_by_agreement() -> None:
    rows = made("normal")
    rows[[3, 200, 700]] = 0
    limits = np.tile([0.5, 0.9, 1.1], (40, 1))
    np.testing.assert_array_equal(counted(rows, limits, "cosine", NOWHERE), naive(rows, limits, "cosine", NOWHERE))


def test_few_pairs_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, pairs = made("normal"), list[int]()
    again = room.pair_distances
    monkeypatch.setattr(room, "pair_distances", lambda a, *rest: pairs.append(len(a)) or again(a, *rest))
    limits = np.sort(distance_block(rows[:40], rows, "euclidean", {})[:, 100:900:100], axis=1)
    counted(rows, limits, "euclidean", NOWHERE)
    assert 40 * 8 <= sum(pairs) < 40 * 12  # the limits themselves, and what lies beside them by chance
