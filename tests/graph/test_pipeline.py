"""The whole graph: umap-learn's, whatever the partitions, the workers and the kills in between."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.graph import checks, pipeline, recall, repair, steps
from pumascale.tasks.graph.memory import SAFE_SHARE, projected_neighbors
from pumascale.tasks.graph.plan import block_tasks, create_store, make_plan, partition_tasks
from pumascale.tasks.parameters import ComputeParameters, GraphParameters
from pumascale.tasks.storage import arrays, graph_store
from pumascale.tasks.storage.errors import InputError, NonFiniteError, ValuesError
from tests.graph.conftest import assert_same, read_graph, umap_graph, write_rows


def parameters(**changes: Any) -> GraphParameters:
    # With two partitions per row some neighbours are missed at the borders, so repair has something to do.
    return GraphParameters(**{"recall_sample": 200, "overlap": 2, **changes})


@pytest.mark.parametrize("n_neighbors", [5, 15])
@pytest.mark.parametrize("mix", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("connectivity", [1.0, 2.0])
def test_it_is_umap_learns_graph(
    tmp_path: Path, digits: NDArray[np.float32], n_neighbors: int, mix: float, connectivity: float
) -> None:
    rows = np.concatenate([digits[:300], digits[:20], digits[:20]])
    source, place = write_rows(tmp_path, rows), str(tmp_path / "graph")
    asked = parameters(n_neighbors=n_neighbors, set_op_mix_ratio=mix, local_connectivity=connectivity)
    manifest = pipeline.build(source, place, asked, run=map)
    assert_same(read_graph(place, manifest), umap_graph(place, n_neighbors, mix, connectivity))
    assert manifest["knn_recall"] == 1.0
    assert not (tmp_path / "graph" / "scratch").exists()


@pytest.mark.parametrize("block_rows", [7, 128])
def test_it_is_umap_learns_graph_at_any_block_size(
    tmp_path: Path, digits: NDArray[np.float32], block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "make_plan", lambda *asked: replace(make_plan(*asked), block_rows=block_rows))
    source, place = write_rows(tmp_path, np.concatenate([digits[:180], digits[:20]])), str(tmp_path / "graph")
    asked = parameters(set_op_mix_ratio=0.6, local_connectivity=2.0)
    manifest = pipeline.build(source, place, asked, run=map)
    assert_same(read_graph(place, manifest), umap_graph(place, 15, 0.6, 2.0))
    assert arrays.open_array(f"{place}/rhos").shards == (block_rows,)


@pytest.mark.parametrize("n_partitions", [2, 7, 16])
def test_partitions_join_to_the_same_graph(tmp_path: Path, digits: NDArray[np.float32], n_partitions: int) -> None:
    source, place = write_rows(tmp_path, digits), str(tmp_path / "graph")
    asked = parameters(n_partitions=n_partitions, target_recall=0.97)
    manifest = pipeline.build(source, place, asked, run=map)
    assert_same(read_graph(place, manifest), umap_graph(place, 15))
    assert manifest["knn_recall"] >= 0.97
    assert manifest["n_partitions"] == n_partitions


def test_given_neighbours_make_the_same_edges_in_any_partitioning(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source, first = write_rows(tmp_path, digits[:900]), str(tmp_path / "first")
    reference = read_graph(first, pipeline.build(source, first, parameters(), run=map))
    for name, member in (("indices", "knn_indices"), ("distances", "knn_dists")):
        arrays.write_whole(str(tmp_path / "knn" / name), np.asarray(arrays.open_array(f"{first}/{member}")[:]))
    for n_partitions in (1, 2, 7, 20):
        place = str(tmp_path / f"in-{n_partitions}")
        asked = parameters(precomputed_knn=str(tmp_path / "knn"), n_partitions=n_partitions)
        graph = read_graph(place, pipeline.build(source, place, asked, run=map))
        assert (graph != reference).nnz == 0


def test_every_edge_lies_in_a_partition_that_holds_both_ends_data(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source, place = write_rows(tmp_path, digits[:900]), str(tmp_path / "graph")
    pipeline.build(source, place, parameters(n_partitions=7, target_recall=1.0), run=map)
    for partition in range(7):
        folder = f"{place}/partitions/{partition:06d}"
        rows, head, tail = (np.asarray(arrays.open_array(f"{folder}/{name}")[:]) for name in ("rows", "head", "tail"))
        assert max(head.max(), tail.max()) < len(rows)
        np.testing.assert_array_equal(graph_store.read_data(place, partition, len(rows), np.float32), digits[rows])


@pytest.mark.parametrize("n_partitions", [1, 5])
def test_bad_rows_are_refused_as_they_are_assigned_and_before_neighbours_are_sought(
    tmp_path: Path, digits: NDArray[np.float32], n_partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By who reads the rows anyway: the driver would read all of them alone, and again at each resume."""
    monkeypatch.setattr(steps, "local_neighbors", None)
    rows = digits[:900].copy()
    rows[[7, 300, 640], 3] = np.nan
    rows[641, 5] = np.inf
    source = write_rows(tmp_path, rows)
    with pytest.raises(NonFiniteError, match="NaN or inf in 4 of its 900 rows, first in row 7"):
        pipeline.build(source, str(tmp_path / "graph"), parameters(n_partitions=n_partitions), run=map)
    source = write_rows(tmp_path / "shifted", digits[:900] - 1)
    asked = parameters(n_partitions=n_partitions, metric="hellinger")
    with pytest.raises(ValuesError, match="has negative values, such as -1; metric 'hellinger'"):
        pipeline.build(source, str(tmp_path / "other"), asked, run=map)


def test_rows_that_are_bad_all_over_are_refused_with_pivots_too(tmp_path: Path) -> None:
    source = write_rows(tmp_path, np.full((900, 3), np.nan))
    with pytest.raises(NonFiniteError, match="NaN or inf in 900 of its 900 rows, first in row 0"):
        pipeline.build(source, str(tmp_path / "graph"), parameters(n_partitions=5), run=map)


class KilledError(Exception):
    """Stands for a process that is gone."""


def dying_after(n_tasks: int) -> Callable[..., Iterator[Any]]:
    """A runner that does some tasks and dies."""
    left = [n_tasks]

    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        for item in items:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            yield function(item)

    return run


def test_a_killed_build_goes_on_where_it_was_and_ends_the_same(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source = write_rows(tmp_path, digits[:900])
    asked = parameters(n_partitions=5, overlap=1, target_recall=1.0, repair_passes=1)
    whole = str(tmp_path / "whole")
    reference = read_graph(whole, pipeline.build(source, whole, asked, run=map))
    place, done = str(tmp_path / "graph"), []

    def counting(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        for item in items:
            done.append(item)
            yield function(item)

    for n_tasks in (1, 3, 4, 5, 4, 2):
        with pytest.raises(KilledError):
            pipeline.build(source, place, asked, run=dying_after(n_tasks))
    manifest = pipeline.build(source, place, asked, run=counting)
    assert (read_graph(place, manifest) != reference).nnz == 0
    fresh = str(tmp_path / "fresh")
    n_left, done[:] = len(done), []
    pipeline.build(source, fresh, asked, run=counting)
    assert n_left < len(done)


def test_a_killed_build_goes_on_in_its_partitions_on_workers_of_another_memory(
    tmp_path: Path, digits: NDArray[np.float32]
) -> None:
    source, asked = write_rows(tmp_path, digits), parameters()
    whole, place = str(tmp_path / "whole"), str(tmp_path / "graph")
    small, large = (int(projected_neighbors(n_rows, 64, 15, "euclidean") / SAFE_SHARE) for n_rows in (800, 2000))
    reference = pipeline.build(source, whole, asked, run=map, worker_memory=small)
    assert reference["n_partitions"] > 1
    with pytest.raises(KilledError):
        pipeline.build(source, place, asked, run=dying_after(9), worker_memory=small)
    manifest = pipeline.build(source, place, asked, run=map, worker_memory=large)
    assert manifest["n_partitions"] == reference["n_partitions"]
    assert (read_graph(place, manifest) != read_graph(whole, reference)).nnz == 0


def test_a_build_killed_behind_a_repair_knows_what_was_measured_before_it(
    tmp_path: Path, digits: NDArray[np.float32]
) -> None:
    source, asked = write_rows(tmp_path, digits), parameters(n_partitions=16, overlap=1, target_recall=0.99)
    whole, place = str(tmp_path / "whole"), str(tmp_path / "graph")
    reference = pipeline.build(source, whole, asked, run=map)
    assert reference["repair_passes"] > 0

    def dying_at_the_memberships(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        if any(getattr(item, "mean_distance", 0) for item in items):
            raise KilledError
        return map(function, items)

    with pytest.raises(KilledError):
        pipeline.build(source, place, asked, run=dying_at_the_memberships)
    manifest = pipeline.build(source, place, asked, run=map)
    for name in ("knn_recall_by_pass", "repair_passes", "n_edges"):
        assert manifest[name] == reference[name]
    assert (read_graph(place, manifest) != read_graph(whole, reference)).nnz == 0


def test_a_repair_that_meets_nobody_new_changes_nothing(tmp_path: Path) -> None:
    # Groups of n_neighbors rows, far apart: every neighbour of a neighbour is a neighbour already.
    rows = np.random.default_rng(0).normal(size=(300, 3)) + 1000 * np.repeat(np.arange(20), 15)[:, None]
    source, place = write_rows(tmp_path, rows.astype(np.float32)), str(tmp_path / "graph")
    plan = make_plan(source, place, parameters(n_partitions=2, overlap=1), None)
    create_store(plan)
    done = pipeline.Steps(place, map, lambda *_: None)
    plan = pipeline.partition(plan, done)
    recall.write_sample(plan)
    done.run("neighbours", steps.local_neighbors, partition_tasks(plan))
    done.run("merge", steps.merge_neighbors, block_tasks(plan))
    before = arrays.open_array(f"{place}/knn_indices")[:]
    improved = [repair.repair_partitions(task)["n_improved"] for task in repair.repair_tasks(plan, 1)]
    for task in block_tasks(plan, 1):
        repair.merge_repaired(task)
    assert improved == [0, 0]
    np.testing.assert_array_equal(arrays.open_array(f"{place}/knn_indices")[:], before)


def test_workers_make_the_same_graph_also_when_they_are_killed(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source, here, there = write_rows(tmp_path, digits), str(tmp_path / "here"), str(tmp_path / "there")
    asked, killed = parameters(n_partitions=4), list[str]()
    reference = read_graph(here, pipeline.build(source, here, asked, run=map))
    with open_client(ComputeParameters(n_workers=2)) as client:

        def kill_a_worker(step: str, done: int, total: int) -> None:
            if step in ("neighbours", "edges") and step not in killed:
                killed.append(step)
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

        run = partial(bounded_map, client)
        manifest = pipeline.build(source, there, asked, run=run, on_progress=kill_a_worker)
    assert killed == ["neighbours", "edges"]
    assert (read_graph(there, manifest) != reference).nnz == 0


@pytest.mark.parametrize(
    ("metric", "prepare"),
    [
        ("cosine", lambda rows: rows),
        ("manhattan", lambda rows: rows),
        ("correlation", lambda rows: rows),
        ("hamming", lambda rows: np.round(rows / 4)),
        ("jaccard", lambda rows: (rows > 7).astype(np.float32)),
        ("hellinger", lambda rows: rows),
    ],
)
def test_partitions_serve_every_metric(
    tmp_path: Path, digits: NDArray[np.float32], metric: str, prepare: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    source, place = write_rows(tmp_path, prepare(digits[:900])), str(tmp_path / "graph")
    manifest = pipeline.build(source, place, parameters(metric=metric, n_partitions=4), run=map)
    assert manifest["knn_recall"] >= 0.95
    assert_same(read_graph(place, manifest), umap_graph(place, 15))


def test_no_partition_is_above_the_bound_and_none_is_tiny(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source, place = write_rows(tmp_path, digits), str(tmp_path / "graph")
    asked = parameters(partition_rows=500, target_recall=0.1, repair_passes=0)  # without repair there are no guests
    manifest = pipeline.build(source, place, asked, run=map)
    folders = sorted((tmp_path / "graph" / "partitions").iterdir())
    sizes = [arrays.open_array(f"{folder}/rows").shape[0] for folder in folders]
    assert len(sizes) == manifest["n_partitions"] > 1
    assert min(sizes) > 15
    assert max(sizes) <= 500


def test_image_rows_and_small_integers_are_rows_too(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source, place = write_rows(tmp_path, digits[:200].reshape(-1, 8, 8).astype(np.uint8)), str(tmp_path / "graph")
    manifest = pipeline.build(source, place, parameters(n_neighbors=5), run=map)
    assert_same(read_graph(place, manifest), umap_graph(place, 5))


@pytest.mark.parametrize("n_partitions", [1, 4])
def test_rows_with_nan_are_left_without_edges_and_harm_nobody(
    tmp_path: Path, digits: NDArray[np.float32], n_partitions: int
) -> None:
    rows = digits[:600].copy()
    clean = np.setdiff1d(np.arange(600), [3, 77, 500])
    rows[[3, 77]], rows[500, 2] = np.nan, np.inf
    source, place = write_rows(tmp_path, rows), str(tmp_path / "graph")
    asked = parameters(n_partitions=n_partitions, target_recall=0.97, non_finite="skip")
    manifest = pipeline.build(source, place, asked, run=map)
    graph = read_graph(place, manifest)
    assert graph[[3, 77, 500]].nnz == 0
    assert manifest["knn_recall"] >= 0.97
    arrays.write_whole(str(tmp_path / "clean"), rows[clean])
    other = str(tmp_path / "other")
    reference = read_graph(other, pipeline.build(str(tmp_path / "clean"), other, parameters(), run=map))
    if n_partitions == 1:
        assert_same(graph[clean][:, clean], reference)


def test_distant_neighbours_make_no_edge(tmp_path: Path) -> None:
    rows = np.concatenate([np.random.default_rng(0).normal(size=(50, 3)), [[100.0, 0, 0]]]).astype(np.float32)
    source, place = write_rows(tmp_path, rows), str(tmp_path / "graph")
    asked = parameters(n_neighbors=5, disconnection_distance=20.0)
    manifest = pipeline.build(source, place, asked, run=map)
    graph = read_graph(place, manifest)
    assert graph[50].nnz == 0
    assert graph[:50].nnz > 0
    assert manifest["knn_recall"] == 1.0  # what is too far is missed by nobody


def test_a_few_rows_many_times_over_make_partitions_that_are_empty(tmp_path: Path) -> None:
    rows = np.repeat(np.eye(2, 5, dtype=np.float32), 100, axis=0)
    source, place = write_rows(tmp_path, rows), str(tmp_path / "graph")
    manifest = pipeline.build(source, place, parameters(n_neighbors=5, n_partitions=4), run=map)
    assert manifest["n_rows"] == 200
    assert manifest["knn_recall"] == 1.0


def test_a_recall_that_is_not_reached_is_said_aloud(
    tmp_path: Path, digits: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    source, place = write_rows(tmp_path, digits), str(tmp_path / "graph")
    asked = parameters(n_partitions=16, overlap=1, target_recall=1.0, repair_passes=0)
    manifest = pipeline.build(source, place, asked, run=map)
    assert manifest["knn_recall"] < 1
    low, high = manifest["knn_recall_interval"]
    assert low < manifest["knn_recall"] < high
    assert "is below graph.target_recall" in caplog.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_neighbors": 300}, "too few for graph.n_neighbors=300"),
        ({"metric": "cosin"}, "Did you mean 'cosine'"),
        ({"partition_rows": 64, "n_neighbors": 30}, "Expected at least 120"),
        ({"n_partitions": 100}, "Expected at most"),
    ],
)
def test_what_cannot_work_is_refused_first(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    source = write_rows(tmp_path, np.zeros((200, 3), np.float32))
    with pytest.raises(InputError, match=reason):
        checks.check(source, parameters(**changes))


def test_given_neighbours_are_checked(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source = write_rows(tmp_path, digits[:100])
    knn = str(tmp_path / "knn")
    for name, dtype in (("indices", np.int64), ("distances", np.float32)):
        arrays.write_whole(f"{knn}/{name}", np.ones((100, 15), dtype))
    checks.check(source, parameters(precomputed_knn=knn))
    arrays.write_whole(f"{knn}/indices", np.full((100, 15), 100))
    with pytest.raises(InputError, match="Expected ids below 100"):
        pipeline.build(source, str(tmp_path / "graph"), parameters(precomputed_knn=knn), run=map)
    arrays.write_whole(f"{knn}/indices", np.ones((90, 15), np.int64))
    with pytest.raises(InputError, match=r"Expected \(100, 15\)"):
        checks.check(source, parameters(precomputed_knn=knn))


def test_a_build_killed_while_its_scratch_was_removed_is_finished(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source, place = write_rows(tmp_path, digits[:300]), str(tmp_path / "graph")
    manifest = pipeline.build(source, place, parameters(n_partitions=3), run=map)
    # Killed behind the removal and before the door's commit: nothing is left to do, and nothing of it is there to use.
    assert pipeline.build(source, place, parameters(n_partitions=3), run=dying_after(0)) == manifest
    assert not (tmp_path / "graph" / "scratch").exists()
