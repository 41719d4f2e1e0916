"""Pivots: the nearest homes and visits, k-means as its steps say, cells that hold nearly all near pairs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumascale.tasks.graph import knn, pipeline, pivots
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_rows_are_at_home_at_the_nearest_pivot_of_the_nearest_groups_and_visit_the_next(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, 5, 12)).astype(np.int32)
    ranks = random.random((6, 12)).astype(np.float32)
    homes = pivots.nearest_homes(ranks, groups, 3)
    visits = pivots.nearest_visits(ranks, groups, homes, 4)
    for row, home, visit in zip(ranks, homes.tolist(), visits.tolist(), strict=True):
        best = [np.flatnonzero(groups == group)[row[groups == group].argmin()] for group in np.unique(groups)]
        expected = sorted(best, key=lambda pivot: row[pivot])[:3]
        assert home == expected + [-1] * (3 - len(expected))
        others = [at for at in np.argsort(row) if groups[at] in groups[expected] and at not in expected][:4]
        assert visit == others + [-1] * (4 - len(others))


def test_pivots_of_clusters_are_their_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivots, "RANKS_AT_ONCE", 40 * 64)  # so that there are blocks for several threads
    random = np.random.default_rng(0)
    centers = random.normal(scale=50, size=(5, 3))
    sample = (centers[np.arange(400) % 5] + random.normal(size=(400, 3))).astype(np.float32)
    found = pivots.choose(sample, 40, "euclidean", 0)
    np.testing.assert_array_equal(found, pivots.choose(sample, 40, "euclidean", 0, n_threads=3))
    nearest = np.linalg.norm(sample[:, None] - found[None], axis=2).argmin(axis=1)
    for pivot in np.unique(nearest):
        np.testing.assert_allclose(found[pivot], sample[nearest == pivot].mean(axis=0), atol=0.5)
    assert set(map(tuple, pivots.choose(sample, 40, "manhattan", 0))) <= set(map(tuple, sample))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_partitions_compared_in_cells_find_nearly_all_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(knn, "EXACT_BELOW", 100)
    rows = np.random.default_rng(0).normal(size=(6000, 5)).astype(np.float16)
    arrays.write_whole(str(tmp_path / "rows"), rows)
    asked = GraphParameters(n_neighbors=10, n_partitions=4, metric=metric, repair_passes=0, target_recall=0.5)
    found = pipeline.build(str(tmp_path / "rows"), str(tmp_path / "graph"), asked, run=map)
    assert found["knn_recall"] > 0.97
