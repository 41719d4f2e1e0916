"""Neighbours: exact ones against a naive search, the row itself in column 0, every metric."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from pumascale.tasks.graph import knn, metrics
from pumascale.tasks.graph.steps import best_neighbors
from pumascale.tasks.storage.errors import InputError


def test_exact_neighbours_are_the_naive_ones(digits: NDArray[np.float32]) -> None:
    rows = digits[:200]
    indices, distances = knn.exact_neighbors(rows, rows, np.arange(200), 10, "euclidean", {})
    naive = np.sort(cdist(rows, rows), axis=1)[:, :10]
    np.testing.assert_allclose(distances, naive, atol=1e-3)
    np.testing.assert_array_equal(indices[:, 0], np.arange(200))
    assert (np.diff(distances, axis=1) >= 0).all()


def share_as_near(rows: NDArray[np.float32], k: int) -> float:
    """How many of the neighbours found in cells are as near as the exact ones."""
    (indices, distances), cells = knn.nearest_neighbors(
        rows, k, "euclidean", {}, angular_rp_forest=False, random_state=1, n_threads=2, n_cells=8
    )
    np.testing.assert_array_equal(indices[:, 0], np.arange(len(rows)))
    assert len(np.unique(cells[:, 0])) > 8  # not all are compared
    _, exact = knn.exact_neighbors(rows, rows, np.arange(len(rows)), k, "euclidean", {})
    return float((distances <= exact * (1 + 1e-4) + 1e-4).mean())


def test_in_cells_nearly_all_neighbours_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "ALL_PER_CELL", 10)
    rows = np.random.default_rng(0).normal(size=(6000, 5)).astype(np.float32)
    assert share_as_near(rows, 10) > 0.98
    assert share_as_near(rows, 100) > 0.95


def test_copies_of_one_row_in_cells_cost_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "ALL_PER_CELL", 10)
    rows = np.random.default_rng(0).normal(size=(6000, 5)).astype(np.float32)
    rows[3000:] = rows[0]
    assert share_as_near(rows, 10) > 0.98


def test_where_cells_would_be_too_few_all_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "ALL_PER_CELL", 10)
    rows = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)
    (_, distances), cells = knn.nearest_neighbors(
        rows, 300, "euclidean", {}, angular_rp_forest=False, random_state=1, n_cells=8
    )
    _, exact = knn.exact_neighbors(rows, rows, np.arange(3000), 300, "euclidean", {})
    np.testing.assert_allclose(distances, exact, atol=1e-4)
    assert (cells[:, 0] == 0).all()


def test_cosine_rows_of_zeros_are_at_a_distance_of_one_from_all_others() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    rows[:20] = 0
    (indices, distances), _ = knn.nearest_neighbors(rows, 15, "cosine", {}, angular_rp_forest=False, random_state=1)
    assert (distances[:20] == 0).all()
    assert (indices[20:] >= 20).all()
    naive = knn.exact_neighbors(rows, rows, np.arange(400), 15, "cosine", {})
    np.testing.assert_allclose(distances, naive[1], atol=1e-5)


@pytest.mark.long  # it compiles for most of a minute
def test_pynndescent_gives_the_row_itself_and_enough_others_even_among_duplicates() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    rows[100:160] = rows[0]
    (indices, _), cells = knn.nearest_neighbors(rows, 15, "manhattan", {}, angular_rp_forest=False, random_state=1)
    assert indices.shape == (5000, 15)
    assert (cells == -1).all()  # what was compared is not known
    np.testing.assert_array_equal(indices[:, 0], np.arange(5000))
    assert (indices >= 0).all()
    assert all(len(set(row)) == 15 for row in indices[:200].tolist())
    exact, _ = knn.exact_neighbors(rows, rows, np.arange(5000), 15, "manhattan", {})
    found = [len(set(a) & set(b)) for a, b in zip(indices[200:], exact[200:], strict=True)]
    assert np.mean(found) / 15 > 0.95


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "correlation", "hamming", "chebyshev"])
def test_distances_are_scipys(metric: str) -> None:
    rows = np.random.default_rng(0).integers(0, 4, (30, 9)).astype(np.float32) + 0.5
    names = {"manhattan": "cityblock"}
    expected = cdist(rows, rows, names.get(metric, metric))
    np.testing.assert_allclose(metrics.distance_block(rows, rows, metric, {}), expected, atol=2e-3)


def test_a_metrics_arguments_reach_it() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    expected = cdist(rows, rows, "minkowski", p=3)
    np.testing.assert_allclose(metrics.distance_block(rows, rows, "minkowski", {"p": 3}), expected, atol=1e-4)


def test_jaccard_and_hellinger_refuse_data_that_they_have_no_meaning_for() -> None:
    with pytest.raises(InputError, match="negative values"):
        metrics.check_values("hellinger", np.array([[-1.0, 2]]), "x")
    with pytest.raises(InputError, match="other than 0 and 1"):
        metrics.check_values("jaccard", np.array([[0.5, 1]]), "x")


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'manhattan'"):
        metrics.check_metric("manhatan")


@pytest.mark.parametrize("metric", ["mahalanobis", "bit_jaccard", "inner_product"])
def test_a_metric_that_is_not_served_says_why(metric: str) -> None:
    with pytest.raises(InputError, match=f"{metric}.* is not served: .*precomputed_knn"):
        metrics.check_metric(metric)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_the_best_neighbours_do_not_depend_on_the_order_of_finding(seed: int) -> None:
    random = np.random.default_rng(seed)
    indices = random.integers(-1, 12, (4, 20))
    distances = (np.abs(indices - np.arange(4)[:, None]) // 2).astype(np.float32)
    distances[indices < 0] = np.inf
    shuffled = random.permuted(np.arange(80).reshape(4, 20) % 20, axis=1)
    ids = np.arange(4)
    first = best_neighbors(ids, indices, distances, 6)
    second = best_neighbors(
        ids, np.take_along_axis(indices, shuffled, 1), np.take_along_axis(distances, shuffled, 1), 6
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    for row in first[0]:
        known = row[row >= 0]
        assert len(set(known.tolist())) == len(known)
