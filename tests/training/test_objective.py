"""The two kernels against their formulas, and gradients where rows coincide."""

import keras
import numpy as np
import pytest
from keras import ops
from umap.umap_ import find_ab_params

from pumascale.tasks.training.curve import fit_curve
from pumascale.tasks.training.objective import attraction, batch_terms, repulsion, squared_distances

A, B = 1.577, 0.895


def pairs(n: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (n, 2)).astype(np.float32)


@pytest.mark.parametrize(("min_dist", "spread"), [(0.1, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_the_curve_is_umap_learns(min_dist: float, spread: float) -> None:
    np.testing.assert_allclose(fit_curve(min_dist, spread), find_ab_params(spread, min_dist), rtol=1e-6)


def test_the_exact_kernel_is_umaps_cross_entropy() -> None:
    squared = np.linspace(0.01, 30, 500)
    q = 1 / (1 + A * squared**B)
    np.testing.assert_allclose(attraction(squared, A, B, "umap"), -np.log(q), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(repulsion(squared, A, B, "umap"), -np.log(1 - q), rtol=5e-3, atol=1e-5)


def test_the_other_kernel_is_parametric_umaps() -> None:
    squared = np.linspace(0.01, 30, 500)
    log_q = -np.log1p(A * squared**B)

    def log_sigmoid(x: np.ndarray) -> np.ndarray:
        return -np.log1p(np.exp(-x))

    np.testing.assert_allclose(attraction(squared, A, B, "umap-learn"), -log_sigmoid(log_q), rtol=1e-5)
    expected = -(log_sigmoid(log_q) - log_q)
    np.testing.assert_allclose(repulsion(squared, A, B, "umap-learn"), expected, rtol=1e-4, atol=1e-6)


def test_the_batch_is_a_mean_over_its_attracted_and_repelled_pairs() -> None:
    head, tail = pairs(40), pairs(80)[40:]
    options = {"a": A, "b": B, "kernel": "umap-learn", "negative_sample_rate": 3}
    attracted, repelled = batch_terms(head, tail, **options, repulsion_strength=2.0)
    n_pairs = 40 * 4
    expected = sum(
        np.sum(repulsion(squared_distances(np.roll(head, turn, axis=0), tail), A, B, "umap-learn"))
        for turn in (1, 2, 3)
    )
    np.testing.assert_allclose(
        attracted, np.sum(attraction(squared_distances(head, tail), A, B, "umap-learn")) / n_pairs, rtol=1e-5
    )
    np.testing.assert_allclose(repelled, 2 * expected / n_pairs, rtol=1e-5)


def test_an_edge_never_repels_its_own_end() -> None:
    # Two edges, five negatives each: the repelled pairs are always the other edge's.
    head = tail = np.array([[0.0, 0.0], [100.0, 0.0]], np.float32)
    options = {"a": A, "b": B, "kernel": "umap", "negative_sample_rate": 5, "repulsion_strength": 1.0}
    assert float(batch_terms(head, tail, **options)[1]) < 1e-3


@pytest.mark.parametrize("kernel", ["umap", "umap-learn"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("b", [0.895, 0.3, 1.5])
def test_duplicates_give_no_nan(kernel: str, policy: str, b: float) -> None:
    layer = keras.layers.Dense(2, dtype=policy)
    model = keras.Sequential([keras.Input((4,)), layer])
    rows = np.ones((8, 4), np.float32)
    before = [np.array(weight) for weight in model.get_weights()]

    def loss(y: object, embedded: object) -> object:
        head, tail = ops.split(embedded, 2)
        return sum(batch_terms(head, tail, a=A, b=b, kernel=kernel, negative_sample_rate=5, repulsion_strength=1.0))

    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    model.fit(rows, np.zeros((8, 2)), batch_size=8, epochs=3, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert len(before) == 2
