"""Repair: a pass looks where the one before it could not, and finds what a look at everything would."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.graph import pipeline, recall, repair, steps
from pumascale.tasks.graph.plan import Plan, block_tasks, create_store, make_plan, partition_tasks
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays
from tests.graph.conftest import write_rows


def repaired(plan: Plan, turn: int) -> NDArray[np.int64]:
    """The neighbours after a pass."""
    for task in repair.repair_tasks(plan, turn):
        repair.repair_partitions(task)
    for block in block_tasks(plan, turn):
        repair.merge_repaired(block)
    return np.asarray(arrays.open_array(f"{plan.place}/knn_indices")[:])


def begun(tmp_path: Path, rows: NDArray[np.float32]) -> Plan:
    """A graph in the making, its partitions' neighbours merged."""
    place = str(tmp_path / "graph")
    plan = make_plan(write_rows(tmp_path, rows), place, GraphParameters(n_partitions=16), None)
    create_store(plan)
    done = pipeline.Steps(place, map, lambda *_: None)
    plan = pipeline.partition(plan, done)
    recall.write_sample(plan)
    done.run("neighbours", steps.local_neighbors, partition_tasks(plan))
    done.run("merge", steps.merge_neighbors, block_tasks(plan))
    return plan


def test_a_second_pass_looks_at_a_fraction_and_finds_the_same(
    tmp_path: Path, digits: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, distances = list[int](), repair.pair_distances

    def counting(*asked: NDArray[np.int32]) -> NDArray[np.float32]:
        looked.append(int((asked[-1] >= 0).sum()))
        return distances(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(repair, "pair_distances", counting)
    plan = begun(tmp_path, digits)
    first = repaired(plan, 1)
    distances_of_first = np.asarray(arrays.open_array(f"{plan.place}/knn_dists")[:])
    settled = np.asarray(arrays.open_array(plan.scratch("settled"))[:])
    assert 0.5 < settled.mean() < 1
    looked.clear()
    second = repaired(plan, 2)
    of_second = sum(looked)
    # The same pass once more from where the first ended, and nothing is taken as settled.
    arrays.open_writable(f"{plan.place}/knn_indices")[:] = first
    arrays.open_writable(f"{plan.place}/knn_dists")[:] = distances_of_first
    monkeypatch.setattr(repair, "_settled", lambda task, ids: np.zeros((len(ids), first.shape[1]), bool))
    looked.clear()
    whole = repaired(plan, 2)
    assert of_second < sum(looked) / 2
    assert (first != second).any()
    assert (second == whole).mean() > 0.999
