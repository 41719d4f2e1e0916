"""Exact neighbours of sampled rows, as the partitions find them together."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from pumascale.tasks.graph import pipeline, recall, steps
from pumascale.tasks.graph.plan import Plan, create_store, make_plan, partition_tasks, read
from pumascale.tasks.parameters import GraphParameters
from tests.graph.conftest import write_rows


def collected(folder: Path, rows: NDArray[np.float32], asked: GraphParameters) -> Plan:
    """A graph in the making, its partitions collected."""
    place = str(folder / "graph")
    plan = make_plan(write_rows(folder, rows), place, asked, None)
    create_store(plan)
    done = pipeline.Steps(place, map, lambda *_: None)
    plan = pipeline.partition(plan, done)
    recall.write_sample(plan)
    done.run("collect", steps.collect_partition, partition_tasks(plan))
    return plan


def expected(rows: NDArray[np.float32], ids: NDArray[np.int64], metric: str) -> NDArray[np.float32]:
    """Distances to the 14 nearest others, by scikit-learn."""
    nearest = NearestNeighbors(n_neighbors=15, metric=metric, algorithm="brute").fit(rows)
    return nearest.kneighbors(rows[ids])[0][:, 1:].astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("n_partitions", [1, 7, 30])
def test_partitions_find_the_exact_neighbours_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: NDArray[np.float32], n_partitions: int, metric: str
) -> None:
    monkeypatch.setattr(recall, "CANDIDATES_AT_ONCE", 8 * 1500)  # of eight partitions
    asked = GraphParameters(n_partitions=n_partitions, metric=metric, recall_sample=100)
    plan = collected(tmp_path, digits, asked)
    (found, distances), ids = recall.exact_neighbors(plan), read(plan.scratch("sample_ids"))
    assert (found != ids[:, None]).all()
    np.testing.assert_allclose(distances, expected(digits, ids, metric), rtol=1e-4, atol=1e-6)


def test_rows_that_joined_no_partition_are_nobodys_neighbours(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    rows = digits.copy()
    rows[::10] = np.nan
    plan = collected(tmp_path, rows, GraphParameters(n_partitions=5, non_finite="skip", recall_sample=100))
    (found, distances), ids = recall.exact_neighbors(plan), read(plan.scratch("sample_ids"))
    assert (ids % 10 > 0).all()
    assert (found % 10 > 0).all()
    left = np.flatnonzero(np.arange(len(rows)) % 10)
    np.testing.assert_allclose(distances, expected(rows[left], np.searchsorted(left, ids), "euclidean"), rtol=1e-4)


def test_partitions_of_fewer_rows_than_neighbours_leave_no_holes(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    plan = collected(tmp_path, digits[:40], GraphParameters(n_partitions=6, overlap=1, recall_sample=40))
    np.testing.assert_allclose(
        recall.exact_neighbors(plan)[1], expected(digits[:40], np.arange(40), "euclidean"), rtol=1e-4
    )
