"""The layout: as good as umap-learn's, and the same on any number of threads."""

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest
import umap
from numpy.typing import NDArray
from scipy.sparse import coo_array
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from pumascale.tasks.storage import graph_store
from pumascale.tasks.training import descent
from pumascale.tasks.training.adjacency import Adjacency
from pumascale.tasks.training.descent import _power, table_of_powers
from pumascale.tasks.training.layout import LayoutOptions, lay_out, start_places, step_of, walked
from pumascale.tasks.training.sampling import Edges, prune
from tests.training.conftest import Stored, adjacency_of

OPTIONS = LayoutOptions(
    a=1.577, b=0.895, negative_sample_rate=5, repulsion_strength=1.0, learning_rate=1.0, n_epochs=300, seed=3
)


@pytest.fixture(scope="module")
def edges(stored: Stored) -> Edges:
    edges = Edges(*graph_store.read_edges(stored.graph))
    return prune(edges, edges.weight.max(), OPTIONS.n_epochs)


@pytest.fixture(scope="module")
def adjacency(edges: Edges) -> Adjacency:
    return adjacency_of(600, edges)


@pytest.fixture(scope="module")
def start(digits: NDArray[np.float32], adjacency: Adjacency) -> NDArray[np.float32]:
    return start_places(PCA(2).fit_transform(digits), adjacency, 2, 0)


@pytest.fixture(scope="module")
def whole(start: NDArray[np.float32], adjacency: Adjacency) -> NDArray[np.float32]:
    """The layout."""
    return lay_out(start, adjacency, OPTIONS)


def test_it_keeps_neighbours_as_umap_does(digits: NDArray[np.float32], whole: NDArray[np.float32]) -> None:
    ours = trustworthiness(digits, whole, n_neighbors=15)
    theirs = trustworthiness(digits, umap.UMAP(n_neighbors=15, random_state=0).fit_transform(digits), n_neighbors=15)
    assert ours > theirs - 0.01


@pytest.mark.parametrize("change", [{"repulsion_strength": 4.0}, {"negative_sample_rate": 20}, {"learning_rate": 0.1}])
def test_its_options_change_it(
    adjacency: Adjacency, start: NDArray[np.float32], whole: NDArray[np.float32], change: dict[str, Any]
) -> None:
    other = lay_out(start, adjacency, replace(OPTIONS, **change))
    ratio = other.std() / whole.std()
    assert (
        ratio > 1.15 if "learning_rate" not in change else abs(other - start).mean() < 0.8 * abs(whole - start).mean()
    )


def test_threads_do_not_change_it(adjacency: Adjacency, start: NDArray[np.float32], whole: NDArray[np.float32]) -> None:
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(lay_out(start, adjacency, OPTIONS), whole)
    finally:
        numba.set_num_threads(threads)


def test_it_goes_on_from_any_epoch(
    adjacency: Adjacency, start: NDArray[np.float32], whole: NDArray[np.float32]
) -> None:
    seen: dict[int, NDArray[np.float32]] = {}
    lay_out(start, adjacency, OPTIONS, lambda epoch, places: seen.update({epoch: places.copy()}))
    np.testing.assert_array_equal(lay_out(seen[120], adjacency, OPTIONS, first_epoch=120), whole)
    assert sorted(seen) == list(range(1, 301))


@pytest.mark.parametrize("b", [0.3, 0.8951, 1.4])
def test_powers_from_the_table_are_the_powers(b: float) -> None:
    numbers = np.geomspace(1e-20, 1e20, 10_001).astype(np.float32)
    powers = table_of_powers(b)
    found = np.array([_power(number, powers) for number in numbers])
    np.testing.assert_allclose(found, numbers.astype(np.float64) ** b, rtol=1e-5)


def test_rows_of_one_place_stay_finite() -> None:
    adjacency = adjacency_of(10, Edges(np.arange(9), np.arange(1, 10), np.ones(9, np.float32)))
    assert np.isfinite(lay_out(np.zeros((10, 2), np.float32), adjacency, OPTIONS)).all()
    assert np.isfinite(start_places(np.ones((10, 2), np.float32), adjacency, 2, 0)).all()


def test_a_few_rows_in_the_cache_repel_as_well_as_all(
    monkeypatch: pytest.MonkeyPatch, digits: NDArray[np.float32], adjacency: Adjacency, start: NDArray[np.float32],
    whole: NDArray[np.float32],
) -> None:  # fmt: skip
    monkeypatch.setattr(descent, "MOST_FAR", 64)
    steps = [step_of(epoch, OPTIONS, adjacency) for epoch in (0, 1)]
    first, again, second = (descent.far_places(start, step) for step in (steps[0], steps[0], steps[1]))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (64, 2)
    assert not np.array_equal(first, second)
    few = lay_out(start, adjacency, OPTIONS)
    assert not np.array_equal(few, whole)
    assert trustworthiness(digits, few, n_neighbors=15) > trustworthiness(digits, whole, n_neighbors=15) - 0.01


@pytest.mark.parametrize("n_components", [2, 5])
def test_the_start_has_every_dimension_asked_for(
    digits: NDArray[np.float32], adjacency: Adjacency, n_components: int
) -> None:
    start = start_places(digits[:, 20:22], adjacency, n_components, 0)
    assert start.shape == (600, n_components)
    assert np.abs(start).max() == pytest.approx(10, abs=0.01)
    assert np.linalg.matrix_rank(start) == n_components


def test_blocks_of_any_size_give_the_same_map(edges: Edges, adjacency: Adjacency, start: NDArray[np.float32]) -> None:
    blocks = adjacency_of(600, edges, block_rows=37)
    np.testing.assert_array_equal(walked(blocks, start), walked(adjacency, start))
    options = replace(OPTIONS, n_epochs=60)
    np.testing.assert_array_equal(lay_out(start, blocks, options), lay_out(start, adjacency, options))


def test_a_step_of_the_walk_is_the_mean_by_weight(
    edges: Edges, adjacency: Adjacency, start: NDArray[np.float32]
) -> None:
    once = coo_array((edges.weight, (edges.head, edges.tail)), (600, 600)).toarray()
    both = once + once.T
    expected = both @ start / both.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(walked(adjacency, start), expected, rtol=1e-4, atol=1e-5)
