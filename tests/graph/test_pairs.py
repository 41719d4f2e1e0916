"""Pairs against their definitions in NumPy."""

import numpy as np
import pytest

from pumascale.tasks.graph import fuzzy, pairs


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_the_distinct_ones_with_both_their_strengths(seed: int) -> None:
    generator = np.random.default_rng(seed)
    forward = generator.uniform(0.1, 1, (60, 60)).astype(np.float32)
    forward[(generator.random((60, 60)) < 0.9) | np.eye(60, dtype=bool)] = 0
    edges = generator.permutation(np.argwhere(forward > 0))
    head, tail = edges.T
    found = pairs.undirected_edges(head, tail, forward[head, tail], 60, 0.4)
    both = np.triu(fuzzy.fuzzy_union(forward, forward.T, 0.4))
    first, second = np.nonzero(both)  # ascending
    for mine, expected in zip(found, (first, second, both[first, second]), strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("n_ids", [0, 1, 500])
def test_ids_are_found_where_they_stand(n_ids: int) -> None:
    ids = np.random.default_rng(0).choice(10**12, n_ids, replace=False)
    ids[: n_ids // 2] = np.arange(n_ids // 2)
    wanted = np.concatenate([ids[::-1], [10**12 + 1, 2**62]])
    expected = [*range(n_ids - 1, -1, -1), -1, -1]
    np.testing.assert_array_equal(pairs.places_in(ids, wanted), expected)
