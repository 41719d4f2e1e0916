"""Pieces of a neighbourhood: every edge once, small enough, and with few rows in more than one of them."""

import numpy as np

from pumascale.tasks.storage import graph_store
from pumascale.tasks.training.pieces import local, pieces
from pumascale.tasks.training.sampling import Edges, joined
from tests.training.conftest import Stored


def n_rows(parts: list[Edges]) -> int:
    """Rows of all parts, as often as they are in one."""
    return sum(len(local(part)[0]) for part in parts)


def test_pieces_are_small_hold_every_edge_once_and_share_few_rows(stored: Stored) -> None:
    edges = Edges(*graph_store.read_edges(stored.graph))
    found = pieces(edges, lambda part: len(part) <= len(edges) / 16 + 1)
    assert len(found) == 16
    both = joined(found)
    order, known = np.lexsort((both.tail, both.head)), np.lexsort((edges.tail, edges.head))
    for name in ("head", "tail", "weight"):
        np.testing.assert_array_equal(getattr(both, name)[order], getattr(edges, name)[known])
    by_chance = np.array_split(np.random.default_rng(0).permutation(len(edges)), 16)
    assert n_rows(found) < 0.5 * n_rows([edges.at(chosen) for chosen in by_chance])


def test_what_nothing_joins_is_parted_first_and_a_single_edge_stays() -> None:
    edges = Edges(np.array([0, 4, 1, 5]), np.array([1, 5, 2, 6]), np.ones(4, np.float32))
    found = pieces(edges, lambda part: len(part) <= 2)
    assert sorted(sorted(piece.head) for piece in found) == [[0, 1], [4, 5]]
    assert [len(piece) for piece in pieces(edges, lambda part: False)] == [1, 1, 1, 1]
