"""The plan: how many partitions the rows come in, and how many threads a task has."""

from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.graph.plan import SMALL_PARTITION, Plan, make_plan
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays

MANY = 200_000


def planned(folder: Path, asked: GraphParameters, n_rows: int = MANY, **given: int) -> Plan:
    source = str(folder / "rows")
    arrays.write_whole(source, np.zeros((n_rows, 2), np.float32))
    return make_plan(source, "", asked, given.pop("worker_memory", 16 * 2**30), **given)


def test_few_rows_are_one_partition_and_more_of_them_small_ones(tmp_path: Path) -> None:
    assert planned(tmp_path, GraphParameters(), n_rows=100_000).n_partitions == 1
    plan = planned(tmp_path / "more", GraphParameters())
    assert plan.most_rows > MANY  # as far as the memory goes
    assert 1.2 < plan.n_partitions * SMALL_PARTITION / (MANY * plan.overlap) < 1.8


@pytest.mark.parametrize("asked", [
    GraphParameters(metric="manhattan"), GraphParameters(n_partitions=1), GraphParameters(partition_rows=300_000),
    GraphParameters(precomputed_knn="neighbours"),
])  # fmt: skip
def test_what_asks_for_something_else_gets_it(tmp_path: Path, asked: GraphParameters) -> None:
    assert planned(tmp_path, asked).n_partitions == 1


def test_of_most_rows_partitions_grow_so_that_there_are_not_too_many(tmp_path: Path) -> None:
    few, many = (planned(tmp_path / str(n), GraphParameters(), n_rows=n, worker_memory=2**40) for n in (10**6, 10**7))
    assert few.n_partitions < many.n_partitions < 128 * 3 * 2
    assert many.n_partitions < 8 * few.n_partitions


def test_small_workers_have_smaller_partitions(tmp_path: Path) -> None:
    assert planned(tmp_path, GraphParameters(), worker_memory=800 * 2**20).most_rows < SMALL_PARTITION


def test_the_cores_are_shared_out_to_as_many_tasks_as_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert planned(tmp_path, GraphParameters(), n_workers=4).n_threads == 2
    assert planned(tmp_path / "alone", GraphParameters(n_partitions=1), n_workers=4).n_threads == 8
    assert planned(tmp_path / "crowded", GraphParameters(), n_workers=16).n_threads == 1
