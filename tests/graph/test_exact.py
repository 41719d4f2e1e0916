"""Exact neighbours by matrix products: those of all distances, also where float32 products cannot tell rows apart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.graph import exact, knn


def both_ways(rows: NDArray[np.float32], metric: str) -> tuple[knn.Neighbors, knn.Neighbors]:
    products = knn.nearest_neighbors(rows, 10, metric, {}, angular_rp_forest=False, random_state=1)
    return products, knn.exact_neighbors(rows, rows, np.arange(len(rows)), 10, metric, {})


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_products_find_the_neighbours_that_all_distances_do(metric: str) -> None:
    rows = np.random.default_rng(0).normal(size=(2500, 24)).astype(np.float32)  # three tiles, the last one cut
    rows[7] = rows[2400]
    products, naive = both_ways(rows, metric)
    np.testing.assert_allclose(products[1], naive[1], atol=1e-5)
    assert (products[0] == naive[0]).mean() > 0.999  # all but near ties
    np.testing.assert_array_equal(products[0][:, 0], np.arange(2500))
    assert products[0][7, 1] == 2400


def test_rows_that_lie_too_close_for_float32_products_are_found_in_float64() -> None:
    random = np.random.default_rng(0)
    rows = (random.normal(size=(600, 5)) / 100 + 1000 * random.integers(0, 2, (600, 1))).astype(np.float32)
    (_, _), unsure = exact.nearest_others(rows, 9)
    products, naive = both_ways(rows, "euclidean")
    assert len(unsure) == 600
    np.testing.assert_array_equal(products[0], naive[0])


def test_a_few_points_are_found_for_each_query() -> None:
    random = np.random.default_rng(0)
    queries, points = (random.normal(size=(n, 6)).astype(np.float32) for n in (50, 1500))
    (ids, squared), unsure = exact.nearest_to(queries, points, 8)
    naive = ((queries[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(ids, np.argsort(naive, axis=1)[:, :8])
    np.testing.assert_allclose(squared, np.sort(naive, axis=1)[:, :8], rtol=1e-5)
    assert len(unsure) == 0


@pytest.mark.parametrize("n_rows", [700, 3500])  # tiles of an even and an odd number, the last one cut
def test_any_number_of_threads_finds_the_same(n_rows: int) -> None:
    points = np.random.default_rng(0).integers(0, 9, (n_rows, 5)).astype(np.float32)  # ties abound
    (ids, squared), _ = exact.nearest_others(points, 12)
    for n_threads in (2, 5):
        (others, of_others), _ = exact.nearest_others(points, 12, n_threads)
        np.testing.assert_array_equal(others, ids)
        np.testing.assert_array_equal(of_others, squared)


@pytest.mark.parametrize("n_tiles", [1, 2, 5, 8])
def test_every_pair_of_tiles_meets_once_and_no_tile_twice_in_a_round(n_tiles: int) -> None:
    rounds = [
        [(first // exact.TILE, second // exact.TILE) for first, second in pairs] for pairs in exact._rounds(n_tiles)
    ]
    assert sorted(pair for pairs in rounds for pair in pairs) == [
        (one, other) for one in range(n_tiles) for other in range(one, n_tiles)
    ]
    for pairs in rounds:
        met = [tile for pair in pairs for tile in set(pair)]
        assert len(met) == len(set(met))
