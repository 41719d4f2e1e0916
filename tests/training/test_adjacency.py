"""The adjacency in its file holds every edge in both directions, in blocks of any size."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumascale.tasks.training.adjacency import Adjacency, draw_edges
from pumascale.tasks.training.sampling import Edges
from tests.training.conftest import adjacency_of


def random_edges(n_rows: int, n_edges: int, seed: int) -> Edges:
    generator = np.random.default_rng(seed)
    head, tail = generator.integers(0, n_rows, (2, n_edges))
    return Edges(head, tail, generator.uniform(0.1, 1, n_edges).astype(np.float32))


def rows_of(adjacency: Adjacency) -> list[list[tuple[int, float]]]:
    """The neighbours and weights of every row, in order."""
    return [
        list(zip(block.neighbours[low:high].tolist(), block.weight[low:high].tolist(), strict=True))
        for block in adjacency.blocks()
        for low, high in zip(block.offsets[:-1], block.offsets[1:], strict=True)
    ]


@settings(deadline=None, max_examples=50)
@given(
    n_rows=st.integers(1, 40), counts=st.lists(st.integers(0, 30), max_size=4), block_rows=st.integers(1, 50),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_it_holds_both_directions_in_the_order_they_came(
    n_rows: int, counts: list[int], block_rows: int, seed: int
) -> None:
    parts = [random_edges(n_rows, count, seed + part) for part, count in enumerate(counts)]
    expected: list[list[tuple[int, float]]] = [[] for _ in range(n_rows)]
    for part in parts:
        for ends, others in ((part.head, part.tail), (part.tail, part.head)):
            for end, other, weight in zip(ends, others, part.weight, strict=True):
                expected[end].append((int(other), float(weight)))
    adjacency = adjacency_of(n_rows, *parts, block_rows=block_rows)
    assert rows_of(adjacency) == expected
    assert adjacency.total_weight == pytest.approx(2 * sum(float(part.weight.sum()) for part in parts))


def test_edges_are_drawn_by_weight() -> None:
    edges = random_edges(50, 400, 0)
    drawn = draw_edges(adjacency_of(50, edges, block_rows=7), 100_000, 0)
    counts, expected = np.zeros((50, 50)), np.zeros((50, 50))
    np.add.at(counts, (drawn.head, drawn.tail), 1)
    for ends, others in ((edges.head, edges.tail), (edges.tail, edges.head)):
        np.add.at(expected, (ends, others), edges.weight)
    assert len(drawn) == 100_000
    # Systematic: each entry is drawn as often as its weight says, to within one; several may share their ends.
    np.testing.assert_allclose(counts, expected / expected.sum() * 100_000, atol=8)
    assert (np.diff(drawn.head) < 0).any()


def test_its_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    adjacency = adjacency_of(50, random_edges(50, 400, 0))
    assert list(tmp_path.iterdir()) == []
    assert len(rows_of(adjacency)) == 50
