"""drift(): one percent of rows like the trained ones, all of rows unlike them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from pumascale.tasks.quality import drift as room
from pumascale.tasks.quality import rows as room_rows
from pumascale.tasks.quality.distances import distance_block
from pumascale.tasks.quality.drift import drift
from pumascale.tasks.storage import chunk_objects
from pumascale.tasks.storage.errors import InputError
from tests.quality.conftest import Store


def cloud(n: int, seed: int = 0, shift: float = 0.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(n, 6)) + shift).astype(np.float32)


def test_rows_like_the_trained_ones_do_not_drift(store: Store) -> None:
    source = store(cloud(4000))
    found = drift(source, source, first_new_row=2000)
    assert found["drift"] == pytest.approx(0.01, abs=0.01)
    assert found["median_new"] == pytest.approx(found["median_trained"], rel=0.1)


def test_shifted_rows_do(store: Store) -> None:
    source = store(np.concatenate([cloud(1000), cloud(300, 1), cloud(700, 2, shift=9)]))
    found = drift(source, source, first_new_row=1000)
    assert found["drift"] == pytest.approx(0.7, abs=0.02)
    assert found["median_new"] > 3 * found["threshold"]


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_by_the_definition(store: Store, metric: str) -> None:
    trained, new = cloud(500), cloud(400, 1, shift=0.8)
    tree = NearestNeighbors(metric=metric).fit(trained)
    before = tree.kneighbors(n_neighbors=1)[0][:, 0]
    after = tree.kneighbors(new, 1)[0][:, 0]
    found = drift(store(np.concatenate([trained, new])), store(trained), first_new_row=500, metric=metric)
    assert found["threshold"] == pytest.approx(np.percentile(before, 99), rel=1e-5)
    assert found["drift"] == pytest.approx((after > np.percentile(before, 99)).mean())
    assert found["median_new"] == pytest.approx(np.median(after), rel=1e-5)
    assert (found["sample_trained"], found["sample_new"]) == (500, 400)


def test_the_trained_rows_may_lie_elsewhere(store: Store) -> None:
    trained, new = cloud(500), cloud(400, 1, shift=0.8)
    together = store(np.concatenate([trained, new]))
    expected = drift(together, together, first_new_row=500)
    assert drift(together, store(trained), first_new_row=500) == expected
    assert drift(store(new), store(trained), first_new_row=0) == expected


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_copies_of_trained_rows_are_at_no_distance(store: Store, metric: str) -> None:
    """Every trained row has a copy, so the threshold is 0; far from the origin, where rounding would show."""
    trained = np.repeat(cloud(300, shift=1e3), 2, axis=0)
    source = store(np.concatenate([trained, trained[::3], cloud(100, 1, shift=1e3)]))
    found = drift(source, source, first_new_row=600, metric=metric)
    assert found["threshold"] == 0
    assert found["drift"] == pytest.approx(100 / 300)


def test_rows_that_are_not_finite_are_left_out(store: Store) -> None:
    rows = cloud(300)
    rows[[3, 250, 260]] = np.nan
    rows[4, 2] = np.inf
    source = store(rows)
    found = drift(source, source, first_new_row=200)
    kept = np.delete(rows, [3, 4, 250, 260], axis=0)
    expected = drift(store(kept), store(kept[:198]), first_new_row=198)
    assert found == pytest.approx(expected)
    assert found["sample_new"] == 98


def test_nothing_new(store: Store) -> None:
    source = store(cloud(50))
    assert drift(source, source, first_new_row=50) == {}


def test_the_size_of_blocks_does_not_matter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = store(np.concatenate([cloud(100), cloud(60, 1, 0.5)]))
    whole = drift(source, source, first_new_row=100)
    monkeypatch.setattr(room_rows, "BLOCK_VALUES", 160 * 3)
    monkeypatch.setattr(chunk_objects, "BLOCK_BYTES", 7 * 24)
    assert drift(source, source, first_new_row=100) == pytest.approx(whole)


def test_rows_of_another_shape_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match=r"rows of shape \(6,\), the trained ones of .* have \(5,\)"):
        drift(store(cloud(9)), store(cloud(9)[:, :5].copy()), first_new_row=3)


def test_one_trained_row_is_refused(store: Store) -> None:
    source = store(cloud(9))
    with pytest.raises(InputError, match="has 1 trained rows"):
        drift(source, source, first_new_row=1)


def test_rows_that_were_placed_but_never_trained_on_are_no_reference(store: Store) -> None:
    """Of a slow drift each night resembles the night before."""
    trained, placed, new = cloud(500), cloud(500, 1, shift=9), cloud(300, 2, shift=9)
    source = store(np.concatenate([trained, placed, new]))
    assert drift(source, source, first_new_row=1000)["drift"] < 0.05
    assert drift(source, source, first_new_row=1000, n_trained=500)["drift"] == 1


def test_some_of_many_trained_rows_stand_for_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def noted(queries: Any, rows: Any, *of: Any) -> Any:
        compared.append(len(rows))
        return distance_block(queries, rows, *of)

    monkeypatch.setattr(room, "distance_block", noted)
    monkeypatch.setattr(room, "MOST_CANDIDATES", 700)
    source = store(np.concatenate([cloud(2000), cloud(300, 1), cloud(700, 2, shift=9)]))
    found = drift(source, source, first_new_row=2000)
    assert 500 < sum(compared) <= 700
    assert found["drift"] == pytest.approx(0.7, abs=0.02)
    assert found["sample_trained"] == sum(compared)
