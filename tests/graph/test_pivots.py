"""Pivots: partitions of the nearest ones, and within each nearly all near pairs are found."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pumascale.tasks.graph import knn, pipeline, pivots
from pumascale.tasks.graph.plan import create_store, make_plan, read
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_rows_join_the_partitions_of_their_nearest_pivots(seed: int) -> None:
    random = np.random.default_rng(seed)
    near = random.integers(0, 5, (6, 7)).astype(np.int32)
    for row, joined in zip(near.tolist(), pivots._first_distinct(near, 3).tolist(), strict=True):
        expected = list(dict.fromkeys(row))[:3]
        assert joined == expected + [-1] * (3 - len(expected))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_partitions_compared_in_cells_find_nearly_all_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(knn, "ALL_PER_CELL", 10)
    rows = np.random.default_rng(0).normal(size=(6000, 5)).astype(np.float16)
    arrays.write_whole(str(tmp_path / "rows"), rows)
    asked = GraphParameters(n_neighbors=10, n_partitions=4, metric=metric, repair_passes=0, target_recall=0.5)
    found = pipeline.build(str(tmp_path / "rows"), str(tmp_path / "graph"), asked, run=map)
    assert found["knn_recall"] > 0.97


def test_rows_of_zeros_in_the_sample_are_no_feature_of_blocks_without_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(4000, 10)) @ generator.normal(size=(10, 96))).astype(np.float32)
    rows[:300] = 0  # the first block has some, the others none
    arrays.write_whole(str(tmp_path / "rows"), rows)
    asked = GraphParameters(
        n_neighbors=5, n_partitions=2, overlap=2, metric="cosine", repair_passes=0, target_recall=0.5
    )
    assert pipeline.build(str(tmp_path / "rows"), str(tmp_path / "graph"), asked, run=map)["n_rows"] == 4000


def sizes_of(folder: Path, seed: int) -> NDArray[np.int64]:
    """Rows of each of 8 partitions of a mixture of normals of unequal size."""
    generator = np.random.default_rng(seed)
    kinds = generator.choice(100, 6000, p=generator.dirichlet(np.ones(100)))
    rows = generator.normal(size=(100, 50))[kinds] + 0.7 * generator.normal(size=(6000, 50))
    arrays.write_whole(str(folder / "rows"), rows.astype(np.float32))
    plan = make_plan(str(folder / "rows"), str(folder / "graph"), GraphParameters(n_partitions=8), None)
    create_store(plan)
    pipeline.partition(plan, pipeline.Steps(plan.place, map, lambda *_: None))
    joined = read(plan.scratch("partitions_of"))
    return np.bincount(joined[joined >= 0], minlength=8)


def test_partitions_are_balanced_by_all_rows_that_join_them(tmp_path: Path) -> None:
    sizes = [sizes_of(tmp_path / str(seed), seed) for seed in range(4)]
    # Balanced by the rows that join them first, the largest was 1.7 times the average.
    assert np.mean([some.max() / some.mean() for some in sizes]) < 1.55
