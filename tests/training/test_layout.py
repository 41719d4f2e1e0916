"""The layout: as good as umap-learn's, and the same on any number of threads."""

import numba
import numpy as np
import pytest
import umap
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from pumascale.tasks.storage import graph_store
from pumascale.tasks.training.layout import LayoutOptions, lay_out, start_places
from pumascale.tasks.training.sampling import Edges, prune
from tests.training.conftest import Stored

OPTIONS = LayoutOptions(a=1.577, b=0.895, negative_sample_rate=5, repulsion_strength=1.0, n_epochs=300, seed=3)


@pytest.fixture(scope="module")
def edges(stored: Stored) -> Edges:
    return prune(Edges(*graph_store.read_edges(stored.graph)), OPTIONS.n_epochs)


@pytest.fixture(scope="module")
def start(digits: NDArray[np.float32], edges: Edges) -> NDArray[np.float32]:
    return start_places(digits, edges, 2, 0)


def test_it_keeps_neighbours_as_umap_does(
    digits: NDArray[np.float32], edges: Edges, start: NDArray[np.float32]
) -> None:
    ours = trustworthiness(digits, lay_out(start, edges, OPTIONS), n_neighbors=15)
    theirs = trustworthiness(digits, umap.UMAP(n_neighbors=15, random_state=0).fit_transform(digits), n_neighbors=15)
    assert ours > theirs - 0.01


def test_threads_do_not_change_it(edges: Edges, start: NDArray[np.float32]) -> None:
    many = lay_out(start, edges, OPTIONS)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(lay_out(start, edges, OPTIONS), many)
    finally:
        numba.set_num_threads(threads)


def test_it_goes_on_from_any_epoch(edges: Edges, start: NDArray[np.float32]) -> None:
    seen: dict[int, NDArray[np.float32]] = {}
    whole = lay_out(start, edges, OPTIONS, lambda epoch, places: seen.update({epoch: places.copy()}))
    np.testing.assert_array_equal(lay_out(seen[120], edges, OPTIONS, first_epoch=120), whole)
    assert sorted(seen) == list(range(1, 301))


def test_rows_of_one_place_stay_finite() -> None:
    edges = Edges(np.arange(9), np.arange(1, 10), np.ones(9, np.float32))
    assert np.isfinite(lay_out(np.zeros((10, 2), np.float32), edges, OPTIONS)).all()
    assert np.isfinite(start_places(np.ones((10, 3), np.float32), edges, 2, 0)).all()


def test_the_start_has_every_dimension_asked_for(digits: NDArray[np.float32], edges: Edges) -> None:
    assert start_places(digits[:, :1], edges, 3, 0).shape == (600, 3)
    assert np.abs(start_places(digits, edges, 5, 0)).max() == pytest.approx(10, abs=0.01)
