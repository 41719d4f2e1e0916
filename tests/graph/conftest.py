"""Rows for the graph room's tests, written as Zarr, and umap-learn's own graph of given neighbours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import umap.umap_
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from sklearn.datasets import load_digits

from pumascale.tasks.storage import arrays, graph_store, manifests


@pytest.fixture(scope="session")
def digits() -> NDArray[np.float32]:
    return load_digits().data.astype(np.float32)


def write_rows(folder: Path, rows: NDArray[Any]) -> str:
    url = str(folder / "rows")
    arrays.create_array(url, shape=rows.shape, dtype=rows.dtype)[:] = rows
    return url


def read_graph(place: str, manifest: dict[str, Any]) -> csr_matrix:
    """The graph as a symmetric matrix, out of the store."""
    manifests.commit(place, manifest)
    head, tail, weight = graph_store.read_edges(place)
    shape = (manifest["n_rows"], manifest["n_rows"])
    both = (np.concatenate([weight, weight]), (np.concatenate([head, tail]), np.concatenate([tail, head])))
    return coo_matrix(both, shape=shape).tocsr()


def umap_graph(place: str, n_neighbors: int, mix: float = 1.0, connectivity: float = 1.0) -> csr_matrix:
    """umap-learn's fuzzy simplicial set of the neighbours in the store."""
    indices = np.asarray(arrays.open_array(f"{place}/knn_indices")[:])
    distances = np.asarray(arrays.open_array(f"{place}/knn_dists")[:])
    return umap.umap_.fuzzy_simplicial_set(
        np.zeros((len(indices), 1)), n_neighbors, np.random.RandomState(0), "euclidean",
        knn_indices=indices, knn_dists=distances, set_op_mix_ratio=mix, local_connectivity=connectivity,
    )[0].tocsr()  # fmt: skip


def assert_same(ours: csr_matrix, theirs: csr_matrix, atol: float = 1e-6) -> None:
    theirs.eliminate_zeros()
    assert ours.nnz == theirs.nnz
    assert abs(ours - theirs).max() <= atol
