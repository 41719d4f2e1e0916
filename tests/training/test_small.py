"""Few rows: fewer validation edges than a batch holds."""

from pathlib import Path

import numpy as np

from pumascale.tasks.training.fit import fit
from tests.training.conftest import short, store


def test_fewer_validation_edges_than_a_batch_are_one_whole_batch(tmp_path: Path) -> None:
    stored = store(tmp_path, np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32), n_neighbors=5)
    manifest = fit(stored.source, stored.graph, str(tmp_path / "model"), short(batch_size=4000))
    assert np.isfinite(manifest["best_val_loss"])
