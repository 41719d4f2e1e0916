"""The two kernels against their formulas, and gradients where rows coincide."""

import keras
import numpy as np
import pytest
from keras import ops
from umap.umap_ import find_ab_params

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.training.curve import fit_curve
from pumascale.tasks.training.fit import curve_of
from pumascale.tasks.training.objective import attraction, repulsion, squared_distances

A, B = 1.577, 0.895


@pytest.mark.parametrize(("min_dist", "spread"), [(0.1, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_the_curve_is_umap_learns(min_dist: float, spread: float) -> None:
    np.testing.assert_allclose(fit_curve(min_dist, spread), find_ab_params(spread, min_dist), rtol=1e-6)


@pytest.mark.parametrize("spread", [1e-3, 0.1, 100.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_the_curve_has_the_same_form_at_any_spread(spread: float, share: float) -> None:
    """umap-learn's fit ends at a = -17 and b = -11 for a spread of 0.1 and half of it as min_dist."""
    a, b = fit_curve(share * spread, spread)
    expected_a, expected_b = find_ab_params(1.0, share)
    np.testing.assert_allclose((a * spread ** (2 * b), b), (expected_a, expected_b), rtol=1e-6)


def test_a_curve_that_is_given_is_kept() -> None:
    assert curve_of(TrainingParameters(a=1.5, b=0.5, min_dist=0.9)) == (1.5, 0.5)


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


@pytest.mark.parametrize("kernel", ["umap", "umap-learn"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("b", [0.895, 0.3, 1.5])
def test_duplicates_give_no_nan(kernel: str, policy: str, b: float) -> None:
    layer = keras.layers.Dense(2, dtype=policy)
    model = keras.Sequential([keras.Input((4,)), layer])
    rows = np.ones((8, 4), np.float32)

    def loss(y: object, embedded: object) -> object:
        head, tail = ops.split(embedded, 2)
        squared = squared_distances(head, tail)
        return ops.mean(attraction(squared, A, b, kernel) + repulsion(squared, A, b, kernel))

    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    model.fit(rows, np.zeros((8, 2)), batch_size=8, epochs=3, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
