"""Unusual but legal: seeds, labels, scales and numbers of rows that most data do not have."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.graph import knn, pipeline
from pumascale.tasks.parameters import MOST_SEED, GraphParameters
from tests.graph.conftest import write_rows


def test_the_largest_seed_serves_every_partition(
    tmp_path: Path, digits: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, nearest = [], knn.nearest_neighbors

    def noted(*given: Any, **asked: Any) -> Any:
        seeds.append(asked["random_state"])
        return nearest(*given, **asked)

    monkeypatch.setattr(knn, "nearest_neighbors", noted)
    asked = GraphParameters(recall_sample=100, n_partitions=4, random_state=MOST_SEED)
    pipeline.build(write_rows(tmp_path, digits[:600]), str(tmp_path / "graph"), asked, run=map)
    for seed in seeds:
        np.random.RandomState(seed)  # what pynndescent makes of it
