"""Supervised graphs against umap-learn's own, whatever the partitions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import umap
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits

from pumascale.tasks.graph import checks, knn, pipeline, target
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays, graph_store
from pumascale.tasks.storage.errors import InputError
from tests.graph.conftest import assert_same, read_graph, write_rows

N_ROWS = 600


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    """The digit of each row; every fifth is not known."""
    known = load_digits().target[:N_ROWS].astype(np.int64)
    known[::5] = -1
    return known


@pytest.fixture(scope="module")
def quantity() -> NDArray[np.float32]:
    """A number per row, no two alike."""
    return np.random.default_rng(0).normal(size=N_ROWS).astype(np.float32)


def supervised(folder: Path, rows: NDArray[Any], labels: NDArray[Any], **changes: Any) -> csr_matrix:
    """Our graph of rows with labels."""
    source, place, given = write_rows(folder, rows), str(folder / "graph"), str(folder / "knn")
    for name, values in zip(("indices", "distances"), neighbors(rows), strict=True):
        arrays.write_whole(f"{given}/{name}", values)
    arrays.write_whole(str(folder / "labels"), labels)
    asked = GraphParameters(recall_sample=100, labels=str(folder / "labels"), precomputed_knn=given, **changes)
    checks.check(source, asked)
    return read_graph(place, pipeline.build(source, place, asked, run=map))


def neighbors(rows: NDArray[Any]) -> knn.Neighbors:
    """The same neighbours for both: which of two equally near rows is one is up to each program."""
    return knn.exact_neighbors(rows, rows, np.arange(len(rows)), 15, "euclidean", {})


def umap_supervised(rows: NDArray[Any], labels: NDArray[Any], **changes: Any) -> csr_matrix:
    """umap-learn's graph of the same; with a layout it would prune it."""
    given = umap.UMAP(transform_mode="graph", random_state=0, precomputed_knn=neighbors(rows), **changes)
    return given.fit(rows, labels).graph_.tocsr()


@pytest.mark.parametrize("n_partitions", [1, 4])
@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9, 1.0])
def test_categories_make_umap_learns_graph(
    tmp_path: Path, digits: NDArray[np.float32], labels: NDArray[np.int64], weight: float, n_partitions: int
) -> None:
    rows = digits[:N_ROWS]
    ours = supervised(tmp_path, rows, labels, target_weight=weight, n_partitions=n_partitions)
    assert_same(ours, umap_supervised(rows, labels, target_weight=weight))


@pytest.mark.parametrize("n_partitions", [1, 4])
@pytest.mark.parametrize("weight", [0.3, 0.5, 0.9])
def test_a_continuous_target_makes_umap_learns_graph(
    tmp_path: Path, digits: NDArray[np.float32], quantity: NDArray[np.float32], weight: float, n_partitions: int
) -> None:
    rows = digits[:N_ROWS]
    asked = {"target_metric": "euclidean", "target_weight": weight, "target_n_neighbors": 10}
    ours = supervised(tmp_path, rows, quantity, n_partitions=n_partitions, **asked)
    assert_same(ours, umap_supervised(rows, quantity, **asked), atol=2e-6)


def test_guests_of_a_target_bring_their_data(
    tmp_path: Path, digits: NDArray[np.float32], quantity: NDArray[np.float32]
) -> None:
    supervised(tmp_path, digits[:N_ROWS], quantity, n_partitions=5, target_metric="euclidean")
    place = str(tmp_path / "graph")
    for partition in range(5):
        rows = graph_store.read_partition(place, partition).rows
        np.testing.assert_array_equal(graph_store.read_data(place, partition, len(rows), np.float32), digits[rows])


def test_category_factors_by_hand() -> None:
    labels, head, tail = np.array([3, 3, 5, -1]), np.array([0, 0, 1], np.int32), np.array([1, 2, 3], np.int32)
    np.testing.assert_allclose(target.category_factors(labels, head, tail, 0.5), [1, np.exp(-5), np.exp(-1)])
    labels = np.array([3.0, 3, 5, np.nan])
    np.testing.assert_allclose(target.category_factors(labels, head, tail, 0.5), [1, np.exp(-5), np.exp(-1)])
    names = np.array(["a", "a", "b", "-1"])
    np.testing.assert_allclose(target.category_factors(names, head, tail, 0.5), [1, np.exp(-5), np.exp(-5)])


def test_labels_pull_their_class_together(
    tmp_path: Path, digits: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    graph = supervised(tmp_path, digits[:N_ROWS], labels, target_weight=0.9).tocoo()
    apart = (labels[graph.row] != labels[graph.col]) & (labels[graph.row] >= 0) & (labels[graph.col] >= 0)
    assert apart.any()
    assert graph.data[apart].sum() < 1e-6 * graph.data.sum()


@pytest.mark.parametrize(
    ("labels", "changes", "reason"),
    [
        (np.zeros(99, np.int64), {}, "99 labels for 200 rows"),
        (np.zeros(99), {"target_metric": "euclidean"}, "expected 200 rows"),
        (np.zeros(200), {"target_metric": "categoricl"}, "Did you mean 'categorical'"),
        (np.zeros(200), {"target_metric": "euclidean", "target_n_neighbors": 1}, "expected -1, or 2 and more"),
    ],
)
def test_wrong_labels_are_refused_first(
    tmp_path: Path, labels: NDArray[Any], changes: dict[str, Any], reason: str
) -> None:
    source = write_rows(tmp_path, np.zeros((200, 3), np.float32))
    missing = GraphParameters(labels=str(tmp_path / "labels"), **changes)
    with pytest.raises(InputError, match=r"No Zarr array|is unknown|expected -1"):
        checks.check(source, missing)
    arrays.write_whole(str(tmp_path / "labels"), labels)
    with pytest.raises(InputError, match=reason):
        checks.check(source, GraphParameters(labels=str(tmp_path / "labels"), **changes))
