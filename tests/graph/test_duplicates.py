"""Equal rows: found across blocks, represented once, as umap-learn's `unique` has it."""

from pathlib import Path

import numpy as np
import pytest
import umap
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pumascale.tasks.graph import checks, duplicates, pipeline
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError
from tests.graph.conftest import assert_same, read_graph, write_rows


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_unique_makes_umap_learns_graph_of_the_distinct_rows(
    tmp_path: Path, digits: NDArray[np.float32], n_partitions: int
) -> None:
    distinct = digits[:500] + np.random.default_rng(0).normal(scale=0.05, size=(500, 64)).astype(np.float32)
    copies = np.random.default_rng(1).integers(0, 500, 1200)
    rows = np.concatenate([distinct, distinct[copies]])  # 1,700 rows: the copies lie in another block
    source, place = write_rows(tmp_path, rows), str(tmp_path / "graph")
    asked = GraphParameters(unique=True, n_partitions=n_partitions, recall_sample=300, target_recall=1.0)
    manifest = pipeline.build(source, place, asked, run=map)
    graph = read_graph(place, manifest)
    assert manifest["knn_recall"] == 1.0
    assert manifest["n_isolated"] == 0
    assert graph[500:].nnz == 0
    fitted = umap.UMAP(transform_mode="graph", random_state=0, unique=True).fit(rows)
    place_of = fitted._unique_inverse_[:500]  # umap-learn sorts the distinct rows
    assert_same(graph[:500][:, :500], fitted.graph_.tocsr()[place_of][:, place_of], atol=1e-4)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_the_first_of_each_kind_is_kept(kinds: list[int]) -> None:
    hashes = duplicates.row_hashes(np.array(kinds, np.float32)[:, None])
    kept = duplicates.first_of_each(hashes, np.arange(len(kinds)))
    assert sorted(kept.tolist()) == sorted(kinds.index(kind) for kind in set(kinds))


def test_hashes_see_values_and_not_bits() -> None:
    hashes = duplicates.row_hashes(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]], np.float32))
    assert (hashes[0] == hashes[1]).all()
    assert (hashes[0] != hashes[2]).any()


def test_unique_with_given_neighbours_is_refused(tmp_path: Path) -> None:
    source, knn = write_rows(tmp_path, np.zeros((200, 3), np.float32)), str(tmp_path / "knn")
    for name, dtype in (("indices", np.int64), ("distances", np.float32)):
        arrays.write_whole(f"{knn}/{name}", np.ones((200, 15), dtype))
    with pytest.raises(InputError, match=r"drop graph\.unique"):
        checks.check(source, GraphParameters(unique=True, precomputed_knn=knn))
