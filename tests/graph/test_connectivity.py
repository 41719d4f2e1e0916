"""Isolated rows, and each row's strongest edge."""

from pathlib import Path

import numpy as np
import pytest
import umap.umap_
from numpy.typing import NDArray
from scipy.sparse import coo_matrix

from pumascale.tasks.graph import connectivity, pipeline
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError
from tests.graph.conftest import write_rows


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Fifty rows near each other, two far from all."""
    near = np.random.default_rng(0).normal(size=(50, 3))
    return write_rows(tmp_path, np.concatenate([near, [[100.0, 0, 0]], near[:5], [[0, 200.0, 0]]]).astype(np.float32))


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_isolated_rows_are_listed(
    tmp_path: Path, source: str, n_partitions: int, caplog: pytest.LogCaptureFixture
) -> None:
    asked = GraphParameters(n_neighbors=5, disconnection_distance=20.0, n_partitions=n_partitions, recall_sample=10)
    manifest = pipeline.build(source, str(tmp_path / "graph"), asked, run=map)
    assert (manifest["n_isolated"], manifest["isolated"]) == (2, [50, 56])
    assert np.flatnonzero(arrays.open_array(str(tmp_path / "graph" / "isolated"))[:]).tolist() == [50, 56]
    assert "2 rows of" in caplog.text


def test_isolated_rows_stop_the_build_where_that_was_asked_for(tmp_path: Path, source: str) -> None:
    asked = GraphParameters(n_neighbors=5, disconnection_distance=20.0, isolated="error", recall_sample=10)
    with pytest.raises(InputError, match=r"2 rows .* first \[50, 56\]"):
        pipeline.build(source, str(tmp_path / "graph"), asked, run=map)


def test_rows_left_out_by_wish_are_not_isolated(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    rows = np.concatenate([digits[:200], digits[:10]])
    rows[7] = np.nan
    asked = GraphParameters(unique=True, recall_sample=10, non_finite="skip")
    manifest = pipeline.build(write_rows(tmp_path, rows), str(tmp_path / "graph"), asked, run=map)
    assert manifest["n_isolated"] == 0
    isolated = np.flatnonzero(arrays.open_array(str(tmp_path / "graph" / "isolated"))[:])
    assert isolated.tolist() == [7, *range(200, 207), 208, 209]


def test_local_connectivity_is_restored_as_by_umap_learn() -> None:
    generator = np.random.default_rng(0)
    head, tail = np.triu_indices(20, 1)
    kept = generator.random(len(head)) < 0.3
    head, tail = head[kept].astype(np.int32), tail[kept].astype(np.int32)
    weight = generator.random(len(head)).astype(np.float32)
    both = (np.concatenate([weight, weight]), (np.concatenate([head, tail]), np.concatenate([tail, head])))
    graph = coo_matrix(both, shape=(20, 20))
    strongest = np.asarray(graph.max(axis=1).todense()).ravel()
    theirs = umap.umap_.reset_local_connectivity(graph).tocsr()
    ours = connectivity.restored(head, tail, weight, weight, strongest)
    np.testing.assert_allclose(ours, np.asarray(theirs[head, tail]).ravel(), rtol=1e-6)
