"""Exact neighbours by matrix products: those of all distances, also where float32 products cannot tell rows apart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.graph import exact, knn
from pumascale.tasks.graph.cells import meetings_in


def both_ways(rows: NDArray[np.float32], metric: str) -> tuple[knn.Neighbors, knn.Neighbors]:
    products, _ = knn.nearest_neighbors(rows, 10, metric, {}, angular_rp_forest=False, random_state=1)
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


def random_cells(n_rows: int) -> NDArray[np.int32]:
    random = np.random.default_rng(1)
    homes, visits = random.integers(0, 9, (n_rows, 1)), random.integers(-1, 9, (n_rows, 3))
    visits[visits == homes] = -1
    return np.concatenate([homes, visits], axis=1).astype(np.int32)


@pytest.mark.parametrize("in_cells", [False, True])
@pytest.mark.parametrize("n_rows", [700, 3500])  # one tile, or several and the last one cut
def test_any_number_of_threads_finds_the_same(n_rows: int, in_cells: bool) -> None:
    points = np.random.default_rng(0).integers(0, 9, (n_rows, 5)).astype(np.float32)  # ties abound
    cells = random_cells(n_rows) if in_cells else None
    (ids, squared), _ = exact.nearest_others(points, 12, 1, cells)
    for n_threads in (2, 5):
        (others, of_others), _ = exact.nearest_others(points, 12, n_threads, cells)
        np.testing.assert_array_equal(others, ids)
        np.testing.assert_array_equal(of_others, squared)


def test_in_cells_whoever_is_at_home_meets_everybody() -> None:
    points, cells = np.random.default_rng(0).normal(size=(900, 4)).astype(np.float32), random_cells(900)
    (ids, squared), unsure = exact.nearest_others(points, 12, 2, cells)
    at_mine = (cells[:, None, :] == cells[None, :, :1]).any(axis=2)  # the one is at home where the other comes to
    naive = np.where(at_mine | at_mine.T, ((points[:, None] - points[None]) ** 2).sum(axis=2), np.inf)
    np.fill_diagonal(naive, np.inf)
    np.testing.assert_array_equal(ids, np.argsort(naive, axis=1)[:, :12])
    np.testing.assert_allclose(squared, np.sort(naive, axis=1)[:, :12], rtol=1e-5)
    assert len(unsure) == 0


def test_points_that_meet_too_few_are_left_to_another_way() -> None:
    points, cells = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32), np.zeros((300, 2), np.int32)
    cells[:, 1], cells[5] = -1, [1, -1]
    (ids, squared), unsure = exact.nearest_others(points, 12, 1, cells)
    assert unsure.tolist() == [5]
    assert (ids[5] == -1).all()
    assert np.isinf(squared[5]).all()


def test_of_a_cell_that_is_far_too_large_not_all_meet() -> None:
    home = np.zeros((5000, 1), np.int32)
    met = [(int(one[0]), int(other[0])) for one, other in meetings_in(home, 100, 300)]
    assert {one for one, _ in met} == set(range(0, 5000, 100))
    assert all(0 <= other - one <= 300 for one, other in met)
    assert len(meetings_in(home, 100, 5000)) == 50 * 51 / 2


def test_copies_of_a_row_are_each_others_neighbours_and_asked_for_in_no_other_way() -> None:
    points = np.random.default_rng(0).normal(size=(900, 4)).astype(np.float32)
    points[100:400] = points[7]
    (_, squared), unsure = exact.nearest_others(points, 12, 2)
    assert (squared[100:400] == 0).all()
    assert not set(unsure) & set(range(100, 400))


@pytest.mark.parametrize("scale", [1e-24, 1e19])
def test_rows_whose_squares_are_no_floats_are_left_to_another_way(scale: float) -> None:
    points = (np.random.default_rng(0).normal(size=(300, 4)) * scale).astype(np.float32)
    assert len(exact.nearest_others(points, 12)[1]) == 300
