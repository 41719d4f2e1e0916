"""Main axes: what they hold of the distances of near rows, where there are none, and what they leave of neighbours."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.graph import knn
from pumascale.tasks.graph.axes import LEAST_FEATURES, MOST_FEATURES, ROWS_PER_FEATURE, SHARE, along, main_axes


def rows_near_a_plane(n_rows: int, n_features: int, n_dimensions: int) -> NDArray[np.float32]:
    """Normal rows in some dimensions of different width, turned into all features, with a little noise in each."""
    generator = np.random.default_rng(0)
    turn, _ = np.linalg.qr(generator.normal(size=(n_features, n_dimensions)))
    rows = generator.normal(size=(n_rows, n_dimensions)) * np.linspace(1, 2, n_dimensions) @ turn.T + 3
    return (rows + 0.01 * generator.normal(size=rows.shape)).astype(np.float32)


def test_axes_are_as_few_as_hold_their_share_of_the_distances_of_near_rows() -> None:
    rows = rows_near_a_plane(3000, 120, 40)
    axes = main_axes(rows)
    assert 20 < len(axes) < 40
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-4)
    near = [np.argsort(((rows - row) ** 2).sum(axis=1))[1] for row in rows[:300]]
    apart = rows[:300] - rows[near]
    held = ((apart @ axes.T) ** 2).sum() / (apart**2).sum()
    assert held == pytest.approx(SHARE, abs=0.03)


def test_where_near_rows_differ_in_all_features_there_are_none_whatever_tells_far_ones_apart() -> None:
    generator = np.random.default_rng(0)
    centers = 10 * generator.normal(size=(100, 5)) @ generator.normal(size=(5, 128))
    rows = centers[generator.integers(0, 100, 4000)] + generator.normal(size=(4000, 128))
    assert main_axes(rows.astype(np.float32)).shape == (0, 128)


@pytest.mark.parametrize(
    ("n_rows", "n_features"),
    [(3000, LEAST_FEATURES - 1), (ROWS_PER_FEATURE * 128 - 1, 128), (0, 128), (10, MOST_FEATURES + 1)],
)
def test_few_features_or_rows_have_none(n_rows: int, n_features: int) -> None:
    rows = np.zeros((n_rows, n_features), np.float32)
    rows[:, 0] = np.arange(n_rows)
    axes = main_axes(rows)
    assert axes.shape == (0, n_features)
    assert along(rows, axes) is rows


@pytest.mark.parametrize("scale", [0, 1e25])
def test_rows_that_are_all_alike_or_whose_squares_overflow_have_finite_axes_if_any(scale: float) -> None:
    rows = scale * rows_near_a_plane(1000, 128, 20)
    assert np.isfinite(main_axes(rows)).all()


def test_a_feature_behind_those_of_the_axes_is_left_out() -> None:
    # Under the cosine metric rows of zeros lie on an axis of their own, which the sample need not have had.
    rows = rows_near_a_plane(3000, 120, 20)
    axes = main_axes(rows)
    np.testing.assert_array_equal(along(np.pad(rows, ((0, 0), (0, 1)), constant_values=1), axes), along(rows, axes))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_along_axes_nearly_all_neighbours_are_found_and_distances_are_those_of_all_features(
    monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(knn, "ALL_PER_CELL", 10)
    rows = rows_near_a_plane(6000, 120, 12)
    assert len(main_axes(rows))
    (indices, distances), cells = knn.nearest_neighbors(
        rows, 15, metric, {}, angular_rp_forest=False, random_state=1, n_cells=16
    )
    assert len(np.unique(cells[:, 0])) > 16  # not all are compared
    near, exact = knn.exact_neighbors(rows, rows, np.arange(len(rows)), 15, metric, {})
    some = np.linspace(0, 5999, 200, dtype=int)
    assert np.mean([len(set(a) & set(b)) / 15 for a, b in zip(indices[some], near[some], strict=True)]) > 0.9
    same = indices == near
    np.testing.assert_allclose(distances[same], exact[same], atol=1e-3)
