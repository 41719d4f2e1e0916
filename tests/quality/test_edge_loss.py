"""The edge loss: by hand, with the graph's own strengths, and on rows that a map fits and that it does not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.graph.fuzzy import membership_strengths, smooth_knn_dist
from pumascale.tasks.quality.drift import drift
from pumascale.tasks.quality.edge_loss import Fit, edge_loss, keep_nearest, strengths
from tests.quality.conftest import Store


def fit(held_out: list[int] | None = None, **changes: float) -> Fit:
    """A map of rows of 4 features by their first two, with a curve that is easy to compute."""
    facts = {"a": 1.0, "b": 1.0} | changes
    return Fit(lambda rows: rows[:, :2], **facts, held_out=np.array(held_out or [], np.int64), n_neighbors=8)


def plane(n: int, seed: int) -> NDArray[np.float32]:
    """Rows that are where the map says, but for a little in the other features."""
    generator = np.random.default_rng(seed)
    return np.column_stack([generator.normal(0, 3, (n, 2)), generator.normal(0, 0.1, (n, 2))]).astype(np.float32)


def test_by_hand() -> None:
    """s = 1, 3 over the edges, weighted 3 to 1: log 2 and log 4; s = 1 for the pair, twice an edge."""
    found = edge_loss(np.array([3.0, 1.0]), np.array([1.0, 3.0]), np.array([1.0]), fit())
    apart = np.log(2 / (1 + 1e-4))
    assert found == pytest.approx((1.25 * np.log(2) + 5 * apart) / 6)
    steeper = edge_loss(np.ones(1), np.array([4.0]), np.array([1e30]), fit(a=2.0, b=0.5))
    assert steeper == pytest.approx(np.log(5) / 6, abs=1e-6)  # s = 2 * 4^0.5


def test_strengths_are_those_of_the_graph() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(0.5, 4, (50, 14)), axis=1)
    distances[:5, :3] = 0  # copies
    distances[5] = 2  # all as far
    whole = np.column_stack([np.zeros(50), distances]).astype(np.float32)
    sigmas, rhos = smooth_knn_dist(whole, float(whole.mean()))
    ids = np.arange(50)
    neighbors = np.column_stack([ids, np.tile(ids[:14] + 50, (50, 1))])
    expected = membership_strengths(ids, neighbors, whole, sigmas, rhos)[:, 1:]
    np.testing.assert_allclose(strengths(distances), expected, atol=1e-4)


def test_nearest_of_all_blocks_are_kept() -> None:
    distances = np.random.default_rng(0).uniform(size=(20, 100))
    best, ids = np.full((20, 5), np.inf), np.full((20, 5), -1)
    for start in (0, 30, 60):
        stop = {0: 30, 30: 60, 60: 100}[start]
        keep_nearest(best, ids, distances[:, start:stop], np.arange(start, stop))
    np.testing.assert_array_equal(ids, np.argsort(distances, axis=1)[:, :5])
    np.testing.assert_array_equal(best, np.sort(distances, axis=1)[:, :5])


def test_rows_that_the_map_fits_lose_as_held_out_ones(store: Store) -> None:
    source = store(np.concatenate([plane(1500, 0), plane(500, 1)]))
    found = drift(source, source, first_new_row=1500, fit=fit(list(range(0, 1500, 5))))
    assert found["edge_loss"] == pytest.approx(found["held_out_edge_loss"], rel=0.1)
    assert found["sample_trained"] == 1200


def test_rows_that_it_does_not_fit_lose_more(store: Store) -> None:
    """They are placed beyond the map's border, far from those that are nearest to them."""
    trained, new = plane(1500, 0), plane(500, 1)
    new[:, :2] += 12
    source = store(np.concatenate([trained, new]))
    found = drift(source, source, first_new_row=1500, fit=fit(list(range(0, 1500, 5))))
    assert found["drift"] > 0.9
    assert found["edge_loss"] > 1.5 * found["held_out_edge_loss"]


def test_held_out_rows_are_nobodys_neighbours(store: Store) -> None:
    """Each has a copy among the new rows."""
    trained = plane(300, 0)
    source = store(np.concatenate([trained, trained[::3]]))
    found = drift(source, source, first_new_row=300, fit=fit(list(range(0, 300, 3))))
    assert found["median_new"] > 0
    assert found["edge_loss"] == pytest.approx(found["held_out_edge_loss"], rel=1e-6)


def test_without_held_out_rows_there_is_nothing_to_compare_with(store: Store) -> None:
    rows = plane(300, 0)
    rows[290] = np.nan
    source = store(rows)
    found = drift(source, source, first_new_row=200, fit=fit())
    assert np.isfinite(found["edge_loss"])
    assert "held_out_edge_loss" not in found
    assert found["sample_new"] == 99
