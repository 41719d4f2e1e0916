"""Distances to rank by: those of pynndescent, and a pair's is the same alone and in a block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array
from numpy.typing import NDArray
from pynndescent.distances import named_distances

from pumascale.tasks.quality.distances import distance_block, pair_distances, rounding

FLOATS = st.floats(-1e4, 1e4, width=32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "hamming", "braycurtis", "hellinger"])
def test_they_are_pynndescents(rows: NDArray[np.float32], metric: str) -> None:
    found = distance_block(rows[:20], rows[10:60], metric, {})
    found = np.sqrt(np.maximum(found, 0)) if metric == "euclidean" else found
    expected = [[named_distances[metric](a, b) for b in rows[10:60]] for a in rows[:20]]
    # pynndescent's own float32 gives equal rows a hellinger distance of up to 4e-4.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3 if metric == "hellinger" else 1e-6)


def test_rows_of_zeros_have_a_cosine_distance() -> None:
    rows = np.array([[0, 0], [3, 4]], np.float32)
    assert distance_block(rows, rows, "cosine", {}).tolist() == [[0, 1], [1, 0]]
    assert pair_distances(rows[[0, 0, 1]], rows[[0, 1, 1]], "cosine", {}).tolist() == [0, 1, 0]


@settings(max_examples=60, deadline=None)
@given(
    rows=any_array(np.float32, (9, 4), elements=FLOATS), metric=st.sampled_from(["euclidean", "cosine", "manhattan"])
)
def test_pairs_agree_with_blocks(rows: NDArray[np.float32], metric: str) -> None:
    """Within `rounding`, which is what the ranks allow for."""
    block = distance_block(rows, rows, metric, {})
    left, right = np.divmod(np.arange(81), 9)
    pairs = pair_distances(rows[left], rows[right], metric, {}).reshape(9, 9)
    assert (np.abs(block - pairs) <= rounding(pairs, rows, metric)).all()
