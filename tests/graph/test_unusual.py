"""Unusual but legal: seeds, labels, scales and numbers of rows that most data do not have."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pumascale.tasks.graph import checks, knn, pipeline, recall
from pumascale.tasks.parameters import MOST_SEED, GraphParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError, ValuesError
from tests.graph.conftest import assert_same, read_graph, write_rows


def test_the_largest_seed_serves_every_partition(
    tmp_path: Path, digits: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, nearest = [], knn.nearest_neighbors

    def noted(*given: Any, **asked: Any) -> Any:
        seeds.append(asked["random_state"])
        return nearest(*given, **asked)

    monkeypatch.setattr(knn, "nearest_neighbors", noted)
    asked = GraphParameters(recall_sample=100, n_partitions=4, random_state=MOST_SEED)
    pipeline.build(write_rows(tmp_path, digits[:600]), str(tmp_path / "graph"), asked, run=map)
    for seed in seeds:
        np.random.RandomState(seed)  # what pynndescent makes of it


@pytest.mark.parametrize("target_metric", ["categorical", "euclidean"])
def test_labels_that_zarr_left_out_as_fill_values_are_labels(
    tmp_path: Path, digits: NDArray[np.float32], target_metric: str
) -> None:
    """Zarr writes no chunk of zeros, and labels are sorted more often than not."""
    source, labels, graphs = write_rows(tmp_path, digits[:300]), np.repeat([0.0, 1, 2], 100), []
    for name, left_out in (("whole", False), ("sparse", True)):
        url, place = str(tmp_path / name), str(tmp_path / f"graph-{name}")
        zarr.create_array(url, data=labels, chunks=(50,), config={"write_empty_chunks": not left_out})
        asked = GraphParameters(recall_sample=100, labels=url, target_metric=target_metric, n_partitions=3)
        checks.check(source, asked)
        graphs.append(read_graph(place, pipeline.build(source, place, asked, run=map)))
    assert_same(*graphs)


def test_equal_rows_have_one_target_among_neighbours(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    """Those that the first stands for have no place in the graph of the target either, as in umap-learn."""
    rows, target, graphs = digits[:200], np.random.default_rng(0).normal(size=200).astype(np.float32), []
    for name, times in (("once", 1), ("often", 12)):
        source = write_rows(tmp_path / name, np.tile(rows, (times, 1)))
        arrays.write_whole(str(tmp_path / name / "labels"), np.tile(target, times))
        asked = GraphParameters(
            recall_sample=100, labels=str(tmp_path / name / "labels"), target_metric="euclidean", unique=True
        )
        place = str(tmp_path / name / "graph")
        graphs.append(read_graph(place, pipeline.build(source, place, asked, run=map))[:200, :200])
    assert_same(*graphs)


def test_fewer_different_rows_than_neighbours_are_refused(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    """Each would miss some, and by umap-learn's formulas all edges would be of weight 1."""
    source = write_rows(tmp_path, np.tile(digits[:15], (20, 1)))
    with pytest.raises(InputError, match=r"15 rows .* too few for graph.n_neighbors=15"):
        pipeline.build(source, str(tmp_path / "graph"), GraphParameters(unique=True), run=map)


@pytest.mark.parametrize(("n_neighbors", "n_known"), [(400, 300), (15, 12)])
def test_a_target_of_too_few_rows_is_refused(
    tmp_path: Path, digits: NDArray[np.float32], n_neighbors: int, n_known: int
) -> None:
    labels = np.where(np.arange(300) < n_known, np.arange(300), np.nan)
    arrays.write_whole(str(tmp_path / "labels"), labels)
    asked = GraphParameters(
        labels=str(tmp_path / "labels"), target_metric="euclidean", target_n_neighbors=n_neighbors, recall_sample=100
    )
    with pytest.raises(InputError, match=rf"{n_known} rows .* graph.target_n_neighbors"):
        pipeline.build(write_rows(tmp_path, digits[:300]), str(tmp_path / "graph"), asked, run=map)


@pytest.mark.parametrize("scale", [1e-17, 1e-26])
def test_angles_do_not_depend_on_the_scale(tmp_path: Path, digits: NDArray[np.float32], scale: float) -> None:
    """Spectra in units of physics: squares of such values are no numbers of 32 bits."""
    rows = digits[:300] * np.random.default_rng(0).uniform(0.1, 10, (300, 1)).astype(np.float32)
    unit, _ = knn.nearest_neighbors(rows, 15, "cosine", {}, angular_rp_forest=False, random_state=1)
    tiny = (rows * scale).astype(np.float32)
    found, _ = knn.nearest_neighbors(tiny, 15, "cosine", {}, angular_rp_forest=False, random_state=1)
    np.testing.assert_allclose(found[1], unit[1], atol=1e-6)


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_values_whose_squares_are_no_numbers_are_refused(
    tmp_path: Path, digits: NDArray[np.float32], n_partitions: int
) -> None:
    source = write_rows(tmp_path, digits[:300] * np.float32(1e20))
    with pytest.raises(ValuesError, match=r"such as 1.6e\+21, .* divide"):
        pipeline.build(source, str(tmp_path / "graph"), GraphParameters(n_partitions=n_partitions), run=map)


def test_the_recall_of_few_rows_among_their_copies_is_measured(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    source = write_rows(tmp_path, np.tile(digits[:40], (300, 1)))
    asked = GraphParameters(n_neighbors=5, unique=True, recall_sample=50)
    manifest = pipeline.build(source, str(tmp_path / "graph"), asked, run=map)
    assert manifest["knn_recall"] == 1
    assert manifest["knn_recall_sample"] >= 5


def test_the_recall_of_a_thousand_neighbours_takes_no_memory_of_their_pairs() -> None:
    ids = np.tile(np.arange(1000), (100, 1))
    distances = ids.astype(np.float32)
    tracemalloc.start()
    recalls = recall.recall_per_row((ids[:, 1:], distances[:, 1:]), np.roll(ids, -1, axis=1), distances)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(recalls, 1)
    assert peak < 20e6  # 100 MB, of 1,000 sampled rows a gigabyte, where each is compared with each
