"""Every metric that is served ranks rows: a row is nearest to itself, and no distance is negative or no number."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pynndescent import NNDescent
from pynndescent.distances import named_distances

from pumascale.tasks.graph import knn, metrics
from pumascale.tasks.storage.errors import InputError

SERVED = sorted(
    {id(distance): name for name, distance in named_distances.items() if name not in metrics.NOT_SERVED}.values()
)
SLOW = ("spearmanr",)  # to compile, 17 s


def rows_for(metric: str, n_rows: int) -> NDArray[np.float32]:
    """Rows that the metric takes, the second one a copy of the first."""
    rows = np.random.default_rng(0).normal(size=(n_rows, 2 if metric == "haversine" else 12)).astype(np.float32)
    rows = np.abs(rows) if metric in metrics.NON_NEGATIVE else rows
    rows = (rows > 0).astype(np.float32) if metric in metrics.BINARY else rows
    rows[1] = rows[0]
    metrics.check_values(metric, rows, "rows")
    return rows


class Uncompiled:
    """`metrics._pairwise` without its loop, which takes a second more to compile for each metric."""

    def __init__(self, metric: str) -> None:
        self.distance = named_distances[metric]

    def __call__(self, queries: Any, rows: Any, arguments: Any) -> NDArray[np.float32]:
        return np.array([[self.distance(a, b, *arguments) for b in rows] for a in queries], np.float32)


@pytest.mark.parametrize("metric", [pytest.param(m, marks=pytest.mark.long) if m in SLOW else m for m in SERVED])
def test_a_row_is_nearest_to_itself_and_its_copies(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_pairwise", Uncompiled)
    metrics.check_metric(metric)
    rows = rows_for(metric, 60)
    distances = metrics.distance_block(rows, rows, metric, {})
    own = np.diagonal(distances)
    assert np.isfinite(distances).all()
    assert (distances >= 0).all()
    assert (own <= distances.min(axis=1) + 1e-6).all()
    assert distances[0, 1] == pytest.approx(own[0], abs=1e-6)


@pytest.mark.long  # each compiles for half a minute; all that are served were tried once
@pytest.mark.parametrize("metric", ["canberra", "hellinger"])
def test_neighbours_are_pynndescents(metric: str) -> None:
    rows = rows_for(metric, 400)
    exact, distances = knn.exact_neighbors(rows, rows, np.arange(400), 15, metric, {})
    _, found = NNDescent(rows, metric=metric, n_neighbors=15, random_state=0).neighbor_graph
    assert np.isfinite(distances).all()
    assert (found <= distances[:, -1:] + 1e-3).mean() > 0.95  # ties are many where rows are binary
    assert exact.shape == found.shape


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("true_angular", "largest for equal rows: take cosine"),
        ("dot", "negative for rows longer than 1: take cosine"),
        ("direct_cosine", "negative for rows longer than 1: take cosine"),
        ("tsss", "no number for equal rows: take cosine or euclidean"),
    ],
)
def test_what_does_not_rank_rows_is_refused(metric: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"graph.metric='{metric}' is not served: .*{reason}"):
        metrics.check_metric(metric)


def test_rows_of_zeros_have_no_shares() -> None:
    with pytest.raises(InputError, match="has rows of zeros; metric 'wasserstein_1d' takes each value as a share"):
        metrics.check_values("wasserstein_1d", np.array([[0.0, 1], [0, 0]]), "x")
