"""k-means: means of neighbourhoods as its steps say, and the nearest centers as all distances rank them."""

import numpy as np
import pytest

from pumascale.tasks.graph import kmeans
from pumascale.tasks.graph.metrics import distance_block


def test_centers_of_clusters_are_their_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "RANKS_AT_ONCE", 40 * 64)  # so that there are blocks for several threads
    random = np.random.default_rng(0)
    middles = random.normal(scale=50, size=(5, 3))
    sample = (middles[np.arange(400) % 5] + random.normal(size=(400, 3))).astype(np.float32)
    found = kmeans.choose_centers(sample, 40, "euclidean", 0, steps=5)
    np.testing.assert_array_equal(found, kmeans.choose_centers(sample, 40, "euclidean", 0, steps=5, n_threads=3))
    nearest = np.linalg.norm(sample[:, None] - found[None], axis=2).argmin(axis=1)
    for center in np.unique(nearest):
        np.testing.assert_allclose(found[center], sample[nearest == center].mean(axis=0), atol=0.5)
    assert set(map(tuple, kmeans.choose_centers(sample, 40, "manhattan", 0, steps=5))) <= set(map(tuple, sample))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_the_nearest_centers_are_those_of_all_distances(metric: str) -> None:
    random = np.random.default_rng(0)
    rows, centers = ((random.normal(size=(n, 6)) + 300).astype(np.float32) for n in (300, 90))
    found = kmeans.nearest_centers(rows, centers, metric, {}, 7, n_threads=2)
    distances = distance_block(rows, centers, metric, {})
    expected = np.sort(distances, axis=1)[:, :7]
    np.testing.assert_allclose(np.take_along_axis(distances, found, axis=1), expected, atol=1e-4)


def test_where_squares_overflow_no_center_is_the_nearest() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    rows[7] = 1e25
    with np.errstate(over="ignore", invalid="ignore"):
        centers = kmeans.choose_centers(rows, 100, "euclidean", 0, steps=2)
        centers[0] = 1e25
        found = kmeans.nearest_centers(rows, centers, "euclidean", {}, 3)
    assert ((found >= -1) & (found < 100)).all()
    assert np.isfinite(centers).all()
