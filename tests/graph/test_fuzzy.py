"""Sigmas, rhos and memberships against umap-learn's, bit for bit."""

import numpy as np
import pytest
import umap.umap_
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pumascale.tasks.graph import fuzzy, knn


def neighbors(rows: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    return knn.exact_neighbors(rows, rows, np.arange(len(rows)), k, "euclidean", {})


@pytest.mark.parametrize("n_neighbors", [2, 5, 15, 40])
@pytest.mark.parametrize("local_connectivity", [0.5, 1.0, 1.5, 3.0])
def test_sigmas_and_rhos_are_those_of_umap_learn(
    digits: NDArray[np.float32], n_neighbors: int, local_connectivity: float
) -> None:
    if local_connectivity >= n_neighbors - 1:
        local_connectivity = 1.0
    _, distances = neighbors(digits[:400], n_neighbors)
    ours = fuzzy.smooth_knn_dist(distances, float(distances.mean()), local_connectivity)
    theirs = umap.umap_.smooth_knn_dist(distances, float(n_neighbors), local_connectivity=local_connectivity)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


@pytest.mark.parametrize("n_neighbors", [2, 4, 5, 8, 15, 16, 100])
def test_rows_of_any_shape_take_the_turns_of_umap_learns_bisection(n_neighbors: int) -> None:
    generator = np.random.default_rng(n_neighbors)
    shape = (3000, n_neighbors)
    kinds = [
        generator.random(shape),
        generator.exponential(size=shape) * 10.0 ** generator.integers(-6, 7, (3000, 1)),
        generator.integers(0, 4, shape),  # ties, and rows of duplicates
        generator.random(shape) ** -3.0,  # far apart: where few are near, the root is flat, or there is none
    ]
    distances = np.sort(np.concatenate(kinds), axis=1).astype(np.float32)
    distances[:, 0] = 0
    for local_connectivity in (1.0, 0.5, 2.5) if n_neighbors > 3 else (1.0,):
        ours = fuzzy.smooth_knn_dist(distances, float(distances.mean()), local_connectivity)
        theirs = umap.umap_.smooth_knn_dist(distances, float(n_neighbors), local_connectivity=local_connectivity)
        np.testing.assert_array_equal(ours[1], theirs[1])
        floored = ours[1] == 0  # its floor is the mean of all, which umap-learn adds up in float32
        np.testing.assert_array_equal(ours[0][~floored], theirs[0][~floored])
        np.testing.assert_allclose(ours[0][floored], theirs[0][floored], rtol=1e-5)


def test_duplicates_get_the_floor_from_the_global_mean() -> None:
    rows = np.concatenate([np.zeros((20, 3)), np.random.default_rng(0).normal(size=(30, 3))]).astype(np.float32)
    _, distances = neighbors(rows, 10)
    sigmas, rhos = fuzzy.smooth_knn_dist(distances, float(distances.mean()), 1.0)
    assert (rhos[:20] == 0).all()
    np.testing.assert_allclose(sigmas[:20], 1e-3 * distances.mean(), rtol=1e-6)
    np.testing.assert_allclose(sigmas, umap.umap_.smooth_knn_dist(distances, 10.0)[0], rtol=1e-6)


def test_memberships_are_those_of_umap_learn(digits: NDArray[np.float32]) -> None:
    indices, distances = neighbors(digits[:300], 15)
    sigmas, rhos = fuzzy.smooth_knn_dist(distances, float(distances.mean()), 1.0)
    ours = fuzzy.membership_strengths(np.arange(300), indices.astype(np.int64), distances, sigmas, rhos)
    _, _, theirs, _ = umap.umap_.compute_membership_strengths(indices, distances, sigmas, rhos)
    np.testing.assert_array_equal(ours.ravel(), theirs)


def test_blocks_of_any_size_agree_bit_for_bit(digits: NDArray[np.float32]) -> None:
    _, distances = neighbors(digits[:300], 15)
    mean = float(distances.mean())
    whole = fuzzy.smooth_knn_dist(distances, mean, 1.0)
    for size in (1, 7, 128):
        parts = [fuzzy.smooth_knn_dist(distances[at : at + size], mean, 1.0) for at in range(0, 300, size)]
        for index in range(2):
            np.testing.assert_array_equal(np.concatenate([part[index] for part in parts]), whole[index])


def test_a_row_without_neighbours_has_no_edges() -> None:
    indices = np.array([[0, -1, -1]])
    distances = np.array([[0, np.inf, np.inf]], np.float32)
    sigmas, rhos = np.ones(1, np.float32), np.zeros(1, np.float32)
    assert (fuzzy.membership_strengths(np.array([0]), indices, distances, sigmas, rhos) == 0).all()


UNIT = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, 8, elements=UNIT), hnp.arrays(np.float32, 8, elements=UNIT), st.floats(0, 1))
def test_the_union_is_symmetric_and_between_product_and_one(
    forward: NDArray[np.float32], backward: NDArray[np.float32], mix: float
) -> None:
    union = fuzzy.fuzzy_union(forward, backward, mix)
    np.testing.assert_array_equal(union, fuzzy.fuzzy_union(backward, forward, mix))
    assert (union >= forward * backward - 1e-6).all()
    assert (union <= 1 + 1e-6).all()
