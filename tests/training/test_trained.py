"""Trained rows: numbered as the graph's partitions hold them, so that neighbours lie near each other."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, graph_store, manifests
from pumascale.tasks.storage.graph_store import Partition, read_partition, write_partition
from pumascale.tasks.training.problem import read_problem
from pumascale.tasks.training.trained import Trained, principal_components, read_trained
from tests.training.conftest import short, store
from tests.training.test_adjacency import rows_of


def in_partitions(graph: str, n_partitions: int) -> str:
    """The same graph in partitions: of three, every third row in the first, and edges where their heads are."""
    whole, parted = read_partition(graph, 0), f"{graph}-{n_partitions}"
    arrays.create_group(parted)
    owner = np.arange(len(whole.rows)) % n_partitions
    for partition in range(n_partitions):
        mine = owner[whole.head] == partition
        ends = np.append(whole.head[mine], whole.tail[mine])
        own, guests = np.flatnonzero(owner == partition), np.setdiff1d(ends, np.flatnonzero(owner == partition))
        rows = np.append(own, guests)
        place = np.full(len(whole.rows), -1, np.int32)
        place[rows] = np.arange(len(rows))
        head, tail = place[whole.head[mine]], place[whole.tail[mine]]
        write_partition(parted, partition, Partition(rows, head, tail, whole.weight[mine]))
    manifests.commit(parted, graph_store.read_graph_manifest(graph) | {"n_partitions": n_partitions})
    return parted


def edges_of(trained: Trained) -> set[tuple[int, int, float]]:
    """Every edge in both directions, by ids."""
    return {
        (int(row), int(trained.ids[neighbour]), weight)
        for row, near in zip(trained.ids, rows_of(trained.adjacency), strict=True)
        for neighbour, weight in near
    }


def test_rows_are_numbered_partition_by_partition(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    stored = store(tmp_path, digits)
    parameters = short(validation_split=0.1)
    before = read_trained(read_problem(stored.source, stored.graph, parameters, math.inf))
    problem = read_problem(stored.source, in_partitions(stored.graph, 3), parameters, math.inf)
    trained = read_trained(problem)
    np.testing.assert_array_equal(before.ids, np.sort(trained.ids))
    assert np.flatnonzero(trained.ids % 3 == 0)[0] == 0
    assert not np.array_equal(before.ids, trained.ids)
    assert edges_of(before) == edges_of(trained)
    some = trained.ids[[5, 500, 40]]
    np.testing.assert_array_equal(trained.ids[trained.numbers_of(np.sort(some))], np.sort(some))
    axes = np.eye(2, 64, dtype=np.float32)
    components = principal_components(problem, trained.ids, np.zeros(64, np.float32), axes)
    np.testing.assert_array_equal(components, digits[trained.ids][:, :2])
