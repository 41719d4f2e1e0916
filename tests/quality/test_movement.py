"""movement(): distances between two maps of the same rows."""

import numpy as np
import pytest

from pumascale.tasks.quality.movement import movement
from tests.quality.conftest import Store


def test_by_the_definition(store: Store) -> None:
    before = np.random.default_rng(0).uniform(0, 20, (400, 2)).astype(np.float32)
    after = np.concatenate([before + np.float32([3, 4]), np.zeros((50, 2), np.float32)])
    after[:100] = before[:100]
    found = movement(store(before), store(after))
    assert found["median"] == pytest.approx(5, rel=1e-5)
    assert found["median_share"] == pytest.approx(5 / np.ptp(before, axis=0).max(), rel=1e-5)
    assert (found["percentile_95"], found["rows"]) == (pytest.approx(5, rel=1e-5), 400)


def test_of_many_rows_a_sample_is_measured(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumascale.tasks.quality.movement.MOST_ROWS", 500)
    before = np.random.default_rng(0).uniform(0, 20, (3000, 2)).astype(np.float32)
    moved = np.random.default_rng(1).uniform(0, 2, 3000).astype(np.float32)
    found = movement(store(before), store(before + np.stack([moved, 0 * moved], axis=1)))
    assert 400 < found["rows"] <= 500
    assert found["median"] == pytest.approx(1, abs=0.15)
    assert found["width"] == pytest.approx(20, rel=0.02)


def test_rows_without_a_place_are_left_out(store: Store) -> None:
    before, after = np.zeros((10, 2), np.float32), np.ones((10, 2), np.float32)
    before[1], after[2] = np.nan, np.nan
    found = movement(store(before), store(after))
    assert found["rows"] == 8
    assert "median_share" not in found  # a map of one point has no width


def test_maps_that_cannot_be_compared(store: Store) -> None:
    flat, deep = np.zeros((10, 2), np.float32), np.zeros((10, 3), np.float32)
    assert movement(store(flat), store(deep)) == {}
    assert movement(store(flat + np.nan), store(flat)) == {}
