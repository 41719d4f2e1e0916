"""Edges are drawn as umap-learn repeats them."""

import numpy as np
import pytest
import umap.umap_
from hypothesis import given, settings
from hypothesis import strategies as st

from pumascale.tasks.training.sampling import Edges, alias_table, default_n_epochs, n_draws, prune


def marginals(weight: np.ndarray) -> np.ndarray:
    """What an alias table draws, exactly."""
    keep, alias = alias_table(weight.astype(np.float32))
    drawn = keep.astype(np.float64)
    np.add.at(drawn, alias, 1 - keep.astype(np.float64))
    return drawn / len(weight)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60).filter(lambda weights: sum(weights) > 1e-3))
def test_the_alias_table_draws_by_weight(weights: list[float]) -> None:
    weight = np.array(weights)
    np.testing.assert_allclose(marginals(weight), weight / weight.sum(), atol=2e-6)


def test_a_million_edges_draw_by_weight() -> None:
    weight = np.random.default_rng(0).random(1_000_000).astype(np.float32) ** 4
    np.testing.assert_allclose(marginals(weight), weight / weight.sum(dtype=np.float64), atol=1e-11, rtol=1e-3)


def test_edges_of_no_weight_are_never_drawn() -> None:
    weight = np.r_[np.zeros(1000), np.full(10, 0.3), np.zeros(7)]
    assert marginals(weight)[weight == 0].max() == 0


def test_marginals_equal_umap_learns_epochs_per_sample() -> None:
    n_epochs = 200
    weight = np.random.default_rng(1).random(5000).astype(np.float32)
    weight[0] = 1
    edges = prune(Edges(np.arange(5000), np.arange(5000), weight), 1.0, n_epochs)
    # One sample per `epochs_per_sample` epochs, over n_epochs.
    expected = n_epochs / umap.umap_.make_epochs_per_sample(edges.weight, n_epochs)
    total = n_draws(edges.weight.sum(), n_epochs) / 2  # umap-learn's matrix holds both directions
    np.testing.assert_allclose(total * marginals(edges.weight), expected, rtol=1e-3)


def test_pruning_is_umap_learns() -> None:
    weight = np.array([0.5, 0.0026, 0.0024, 0.3], np.float32)
    assert prune(Edges(np.arange(4), np.arange(4), weight), 0.5, 200).head.tolist() == [0, 1, 3]


@pytest.mark.parametrize(("n_rows", "n_epochs"), [(10_000, 500), (10_001, 200)])
def test_the_epochs_are_umap_learns(n_rows: int, n_epochs: int) -> None:
    assert default_n_epochs(n_rows) == n_epochs
