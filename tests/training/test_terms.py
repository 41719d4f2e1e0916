"""Each term of the loss against its definition."""

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.training.objective import attraction, repulsion
from pumascale.tasks.training.terms import Attraction, Correlation, Landmarks, Reconstruction, Repulsion

SHAPE = (1.577, 0.895, "umap-learn", 3)


def places(seed: int = 0, n: int = 40) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, (n, 2)).astype(np.float32)


def squared(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sum((one - other) ** 2, axis=1)


def test_attraction_and_repulsion_are_means_over_all_pairs_of_the_batch() -> None:
    head, tail = places(0), places(1)
    batch = {"head": head, "tail": tail}
    attracted = np.sum(attraction(squared(head, tail), *SHAPE[:3]))
    repelled = sum(np.sum(repulsion(squared(np.roll(head, turn, axis=0), tail), *SHAPE[:3])) for turn in (1, 2, 3))
    np.testing.assert_allclose(Attraction(*SHAPE)(batch, True), attracted / 160, rtol=1e-5)
    np.testing.assert_allclose(Repulsion(*SHAPE, 2.0)(batch, True), 2 * repelled / 160, rtol=1e-5)


def test_an_edge_never_repels_its_own_end() -> None:
    # Two edges far apart, five negatives each: the repelled pairs are always of two edges.
    ends = np.array([[0.0, 0.0], [100.0, 0.0]], np.float32)
    assert float(Repulsion(1.577, 0.895, "umap", 5, 1.0)({"head": ends, "tail": ends}, True)) < 1e-3


def test_correlation_is_that_of_consecutive_distances() -> None:
    rows, tail = np.random.default_rng(2).normal(size=(80, 5)).astype(np.float32), places(3)
    batch = {"tail": tail, "rows": rows}

    def steps(values: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (values - values.mean(0)) / values.std(0)
        return np.linalg.norm(np.diff(scaled, axis=0), axis=1)

    expected = np.corrcoef(steps(rows[40:]), steps(tail))[0, 1]
    np.testing.assert_allclose(Correlation(0.5)(batch, True), -0.5 * expected, atol=1e-4)


def test_correlation_of_constant_rows_is_a_number() -> None:
    batch = {"tail": np.ones((8, 2), np.float32), "rows": np.ones((16, 3), np.float32)}
    assert np.isfinite(float(Correlation(1.0)(batch, True)))


def test_landmarks_count_only_rows_with_a_place() -> None:
    tail = np.array([[0, 0], [3, 4], [9, 9], [1, 1]], np.float32)
    wanted = np.array([[0, 1], [0, 0], [np.nan, np.nan], [np.nan, 0]], np.float32)
    value = float(Landmarks(2.0)({"tail": tail, "landmarks": wanted}, True))
    assert value == pytest.approx(2 * (1 + 5) / 2, rel=1e-3)


def test_a_landmark_loss_of_ones_own_counts_only_rows_with_a_place() -> None:
    tail = np.array([[0, 0], [3, 4]], np.float32)
    wanted = np.array([[0, 2], [np.nan, np.nan]], np.float32)
    term = Landmarks(1.0, lambda y, z: keras.ops.sum(keras.ops.square(y - z), axis=-1))
    assert float(term({"tail": tail, "landmarks": wanted}, True)) == pytest.approx(4)


def test_no_landmark_in_the_batch_is_no_loss() -> None:
    batch = {"tail": places(), "landmarks": np.full((40, 2), np.nan, np.float32)}
    assert float(Landmarks(1.0)(batch, True)) == pytest.approx(0, abs=1e-6)


def test_reconstruction_compares_the_heads_rows() -> None:
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5)])
    rows = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    batch = {"head": places(), "rows": rows}
    expected = np.mean((rows[:40] - decoder.predict(places(), verbose=0)) ** 2)
    term = Reconstruction(decoder, keras.losses.mean_squared_error, 3.0, False)
    np.testing.assert_allclose(term(batch, False), 3 * expected, rtol=1e-5)
