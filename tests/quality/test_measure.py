"""measure(): equal to scikit-learn and to the definitions, for trained and for unseen rows."""

from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier

from pumascale.tasks.quality import measure as room
from pumascale.tasks.quality import rows as room_rows
from pumascale.tasks.quality.measure import label_accuracy, map_neighbors, measure
from pumascale.tasks.quality.rows import Candidates, all_but
from tests.quality.conftest import Store

NOBODY = np.zeros(0, np.int64)


def naive_neighbors(distances: NDArray[Any], k: int) -> list[set[int]]:
    """The k nearest columns of each row of a distance matrix."""
    return [set(np.argsort(row, kind="stable")[:k].tolist()) for row in distances]


def naive_recall(
    rows: NDArray[Any], points: NDArray[Any], ids: NDArray[Any], candidates: NDArray[Any], k: int
) -> float:
    """By the definition: the share of each row's neighbours in the data that are its neighbours in the map."""
    found = []
    for values in (rows, points):
        distances = pairwise_distances(values[ids].astype(float), values[candidates].astype(float))
        distances[ids[:, None] == candidates[None, :]] = np.inf
        found.append(naive_neighbors(distances, k))
    return float(np.mean([len(a & b) / k for a, b in zip(*found, strict=True)]))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chebyshev", "correlation", "canberra"])
def test_trustworthiness_is_scikit_learns(
    store: Store, rows: NDArray[np.float32], points: NDArray[np.float32], metric: str
) -> None:
    found = measure(store(rows), store(points), held_out=NOBODY, metric=metric)
    expected = trustworthiness(rows.astype(float), points, n_neighbors=15, metric=metric)
    assert found["trained"]["trustworthiness"] == pytest.approx(expected, abs=1e-5)
    assert found["trained"]["sample"] == 600
    assert 0.5 < expected < 0.99


@pytest.mark.parametrize("k", [1, 5, 40])
def test_any_number_of_neighbors(store: Store, rows: NDArray[Any], points: NDArray[Any], k: int) -> None:
    everyone = np.arange(600)
    found = measure(store(rows), store(points), held_out=NOBODY, n_neighbors=k)
    assert found["n_neighbors"] == k
    assert found["trained"]["trustworthiness"] == pytest.approx(trustworthiness(rows, points, n_neighbors=k), abs=1e-5)
    assert found["trained"]["neighbor_recall"] == pytest.approx(naive_recall(rows, points, everyone, everyone, k))


def test_copies_of_rows(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    """Which copy scikit-learn ranks first is chance; the share of rows that have one is as in real data."""
    rows, points = rows.copy(), points.copy()
    rows[100:140], points[100:140] = rows[200:240], points[200:240]
    found = measure(store(rows), store(points), held_out=NOBODY)["trained"]
    assert found["trustworthiness"] == pytest.approx(trustworthiness(rows, points, n_neighbors=15), abs=1e-4)


def test_a_pile_of_equal_rows_costs_a_map_nothing(store: Store) -> None:
    """All of 100 copies are equally near; that a map shows 15 others of them than a sort finds is no fault of it."""
    pile = np.repeat(np.array([[1e3, 1e3], [2e3, 0.0]], np.float32), 100, axis=0)
    points = pile + np.random.default_rng(0).normal(0, 1, pile.shape).astype(np.float32)
    found = measure(store(pile), store(points), held_out=NOBODY)["trained"]
    assert (found["trustworthiness"], found["neighbor_recall"]) == (1.0, 1.0)


def test_few_distinct_distances(store: Store, points: NDArray[Any]) -> None:
    """Small integers tie all the time: the rank is one more than the number of rows that are strictly closer."""
    rows = np.random.default_rng(3).integers(0, 3, (600, 3)).astype(np.int16)
    found = measure(store(rows), store(points), held_out=NOBODY, metric="manhattan")["trained"]
    distances = pairwise_distances(rows, metric="manhattan")
    np.fill_diagonal(distances, np.inf)
    nearest = map_neighbors(zarr.array(points), np.arange(600), all_but(600, NOBODY), 15)
    ranks = np.array([[1 + (row < row[j]).sum() for j in near] for row, near in zip(distances, nearest, strict=True)])
    assert found["neighbor_recall"] == pytest.approx((ranks <= 15).mean())
    penalty = np.maximum(ranks - 15, 0).sum()
    assert found["trustworthiness"] == pytest.approx(1 - penalty * 2 / (600 * 15 * (1200 - 45 - 1)))


def test_clusters_far_from_each_other(store: Store) -> None:
    """Distances of 1 within clusters that lie 10,000 apart: float32 products would lose the order."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 8)).astype(np.float32) + np.float32(1e4) * (np.arange(300) % 3)[:, None]
    points = rows[:, :2] + generator.normal(0, 0.3, (300, 2)).astype(np.float32)
    found = measure(store(rows), store(points), held_out=NOBODY)["trained"]
    assert found["trustworthiness"] == pytest.approx(
        trustworthiness(rows.astype(float), points, n_neighbors=15), abs=1e-4
    )
    assert found["neighbor_recall"] == pytest.approx(
        naive_recall(rows, points, np.arange(300), np.arange(300), 15), abs=1e-3
    )


def test_metrics_that_only_pynndescent_has(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    hellinger = measure(store(rows), store(points), held_out=NOBODY, metric="hellinger")
    shares = np.sqrt(rows / rows.sum(axis=1, keepdims=True)).astype(float)
    expected = trustworthiness(shares, points, n_neighbors=15)
    assert hellinger["trained"]["trustworthiness"] == pytest.approx(expected, abs=1e-4)
    cubic = measure(store(rows), store(points), held_out=NOBODY, metric="minkowski", metric_kwds={"p": 3})
    distances = pairwise_distances(rows.astype(float), metric="minkowski", p=3)
    expected = trustworthiness(distances, points, n_neighbors=15, metric="precomputed")
    assert cubic["trained"]["trustworthiness"] == pytest.approx(expected, abs=1e-5)


def test_unseen_rows_are_measured_against_trained_ones(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    held_out, trained = np.arange(0, 600, 3), np.setdiff1d(np.arange(600), np.arange(0, 600, 3))
    found = measure(store(rows), store(points), held_out=held_out)
    assert (found["trained"]["sample"], found["held_out"]["sample"]) == (400, 200)
    for kind, ids in (("trained", trained), ("held_out", held_out)):
        expected = naive_recall(rows, points, ids, trained, 15)
        assert found[kind]["neighbor_recall"] == pytest.approx(expected), kind
    of_trained = trustworthiness(rows[trained], points[trained], n_neighbors=15)
    assert found["trained"]["trustworthiness"] == pytest.approx(of_trained, abs=1e-5)
    # One unseen row among the trained ones: scikit-learn's figure is the sum of all rows' penalties, so take it by row.
    penalties = [unseen_penalty(rows, points, row, trained) for row in held_out]
    assert found["held_out"]["trustworthiness"] == pytest.approx(1 - float(np.mean(penalties)), abs=1e-5)


def unseen_penalty(rows: NDArray[Any], points: NDArray[Any], row: int, trained: NDArray[Any], k: int = 15) -> float:
    in_data = np.linalg.norm((rows[trained] - rows[row]).astype(float), axis=1)
    in_map = np.linalg.norm((points[trained] - points[row]).astype(float), axis=1)
    order = {int(candidate): rank + 1 for rank, candidate in enumerate(np.argsort(in_data))}
    excess = sum(max(0, order[int(candidate)] - k) for candidate in np.argsort(in_map)[:k])
    return 2 * excess / (k * (2 * (len(trained) + 1) - 3 * k - 1))


def test_labels_are_guessed_as_a_classifier_would(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    labels = np.arange(600) % 4
    labels[::7] = 9
    held_out = np.arange(500, 600)
    found = measure(store(rows), store(points), held_out=held_out, labels=store(labels))
    classifier = KNeighborsClassifier(15).fit(points[:500], labels[:500])
    assert found["held_out"]["label_accuracy"] == pytest.approx(classifier.score(points[500:], labels[500:]))
    nearest = map_neighbors(zarr.array(points), np.arange(500), all_but(500, NOBODY), 15)
    assert found["trained"]["label_accuracy"] == pytest.approx(
        label_accuracy(zarr.open_array(store(labels)), np.arange(500), nearest)
    )


def test_labels_may_be_words(store: Store, rows: NDArray[Any], points: NDArray[Any], tmp_path: Any) -> None:
    codes = np.arange(600) % 4
    words = zarr.create_array(str(tmp_path / "words"), shape=(600,), dtype=str)
    words[:] = np.array(["admin", "games", "kernel", "x11"], object)[codes]
    source, embedding = store(rows), store(points)
    by_word = measure(source, embedding, held_out=NOBODY, labels=str(tmp_path / "words"))
    assert by_word == measure(source, embedding, held_out=NOBODY, labels=store(codes))


@pytest.mark.parametrize("every", [2, 7, 40])
def test_rows_without_a_label_are_no_class(store: Store, rows: NDArray[Any], points: NDArray[Any], every: int) -> None:
    labels = np.where(np.arange(600) % every, np.nan, (points[:, 0] > 0).astype(float))
    found = label_accuracy(zarr.array(labels), np.arange(600), map_neighbors(*everybody(points)))
    near = labels[map_neighbors(*everybody(points))]
    asked = np.flatnonzero(np.isfinite(labels) & np.isfinite(near).any(axis=1))
    guesses = [2 * np.nansum(near[row]) > np.isfinite(near[row]).sum() for row in asked]
    assert found == pytest.approx(np.mean(guesses == labels[asked]))
    assert (found or 0) > 0.9


def everybody(points: NDArray[Any]) -> tuple[Any, NDArray[np.int64], Candidates, int]:
    return zarr.array(points), np.arange(len(points)), all_but(len(points), NOBODY), 15


@pytest.mark.parametrize("labels", [np.full(600, np.nan), np.linspace(0, 1, 600)], ids=["unknown", "quantity"])
def test_what_is_no_class_is_not_guessed(
    store: Store, rows: NDArray[Any], points: NDArray[Any], labels: NDArray[Any]
) -> None:
    found = measure(store(rows), store(points), held_out=NOBODY, labels=store(labels))
    assert "label_accuracy" not in found["trained"]


def test_rows_that_are_placed_nowhere_are_left_out(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    holes = np.arange(5, 600, 10)
    placed = np.setdiff1d(np.arange(600), holes)
    spoiled, torn = rows.copy(), points.copy()
    spoiled[holes], torn[holes] = np.nan, np.nan
    found = measure(store(spoiled), store(torn), held_out=np.arange(5))
    kept = measure(store(rows[placed]), store(points[placed]), held_out=np.arange(5))
    assert found == kept
    assert found["trained"]["sample"] == 535


def test_a_sample_is_near_the_whole(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    source, embedding = store(rows), store(points)
    whole = measure(source, embedding, held_out=np.arange(300))
    part = measure(source, embedding, held_out=np.arange(300), sample=150)
    assert part == measure(source, embedding, held_out=np.arange(300), sample=150)
    for kind in ("trained", "held_out"):
        assert part[kind]["sample"] == 150
        assert part[kind]["neighbor_recall"] == pytest.approx(whole[kind]["neighbor_recall"], abs=0.05)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("values", [1, 600 * 7, 600 * 599])
def test_the_size_of_blocks_does_not_matter(
    store: Store,
    rows: NDArray[Any],
    points: NDArray[Any],
    metric: str,
    values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, embedding = store(rows[:200]), store(points[:200])
    whole = measure(source, embedding, held_out=np.arange(0, 200, 9), metric=metric)
    monkeypatch.setattr(room_rows, "BLOCK_VALUES", values)
    assert measure(source, embedding, held_out=np.arange(0, 200, 9), metric=metric) == whole


def test_blocks_of_the_map_do_not_matter(
    store: Store, rows: NDArray[Any], points: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 rows: fewer than are sought."""
    source, embedding, held_out = store(rows), store(points), np.arange(0, 600, 7)
    whole = measure(source, embedding, held_out=held_out)
    monkeypatch.setattr(room, "BLOCK_ROWS", 8)
    monkeypatch.setattr(room_rows, "ID_ROWS", 8)
    assert measure(source, embedding, held_out=held_out) == whole


@pytest.mark.parametrize("n_rows", [1, 8, 600])
def test_candidates_are_a_mask(n_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_rows, "ID_ROWS", 56)
    mask = np.random.default_rng(0).random(n_rows) < 0.5
    found = Candidates(n_rows)
    found.add(0, mask)
    left_out = np.arange(0, n_rows, 5)
    found.remove(left_out)
    mask[left_out] = False
    assert len(found) == mask.sum()
    assert found.at(np.arange(len(found))).tolist() == np.flatnonzero(mask).tolist()
    for start, stop in ((0, n_rows), (n_rows // 3, n_rows // 2 + 1)):
        assert found.between(start, stop).tolist() == (start + np.flatnonzero(mask[start:stop])).tolist()


def test_wide_rows_are_sampled_less(
    store: Store, rows: NDArray[Any], points: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_rows, "SAMPLE_VALUES", 12 * 50)
    assert measure(store(rows), store(points), held_out=NOBODY)["trained"]["sample"] == 50


def test_rows_of_more_dimensions(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    flat = measure(store(rows), store(points), held_out=np.arange(9))
    assert measure(store(rows.reshape(600, 2, 3, 2)), store(points), held_out=np.arange(9)) == flat


def test_few_rows(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    found = measure(store(rows[:10]), store(points[:10]), held_out=np.arange(3))
    assert found["n_neighbors"] == 3
    assert found["trained"]["trustworthiness"] == pytest.approx(
        trustworthiness(rows[3:10], points[3:10], n_neighbors=3)
    )
    assert measure(store(rows[:2]), store(points[:2]), held_out=NOBODY) == {}


def test_progress_ends_at_the_last_row(store: Store, rows: NDArray[Any], points: NDArray[Any]) -> None:
    seen: list[tuple[str, int, int]] = []
    measure(store(rows), store(points), held_out=NOBODY, on_progress=lambda *step: seen.append(step))
    assert seen[-1] == ("quality", 600, 600)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(7, 90), k=st.integers(1, 3), scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_a_map_that_is_the_data_is_perfect(seed: int, n: int, k: int, scale: float, tmp_path_factory: Any) -> None:
    """Also turned, shrunk and shifted; a shuffled one is never better."""
    generator = np.random.default_rng(seed)
    rows = (generator.normal(size=(n, 2)) * scale).astype(np.float32)
    folder = tmp_path_factory.mktemp("property")
    turned = (rows @ np.array([[0.6, -0.8], [0.8, 0.6]]) / scale + 3).astype(np.float32)
    for name, values in {"rows": rows, "map": turned, "shuffled": generator.permutation(turned)}.items():
        zarr.create_array(str(folder / name), shape=values.shape, dtype=values.dtype)[:] = values
    place = [str(folder / name) for name in ("rows", "map", "shuffled")]
    good = measure(place[0], place[1], held_out=NOBODY, n_neighbors=k)["trained"]
    bad = measure(place[0], place[2], held_out=NOBODY, n_neighbors=k)["trained"]
    # In float32 two neighbours may change places.
    assert good["trustworthiness"] == pytest.approx(1, abs=1e-2)
    assert bad["trustworthiness"] <= good["trustworthiness"]
    assert 0 <= bad["neighbor_recall"] <= good["neighbor_recall"] <= 1
