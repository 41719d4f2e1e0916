"""Small trainings: fewer validation edges than a batch holds, and what else runs in the process."""

import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.training import artefact
from pumascale.tasks.training.fit import fit
from tests.training.conftest import short, store


def test_fewer_validation_edges_than_a_batch_are_one_whole_batch(tmp_path: Path) -> None:
    stored = store(tmp_path, np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32), n_neighbors=5)
    manifest = fit(stored.source, stored.graph, str(tmp_path / "model"), short(batch_size=4000))
    assert np.isfinite(manifest["best_val_loss"])


def test_what_other_threads_draw_does_not_change_the_weights(tmp_path: Path) -> None:
    # Prefect's websocket draws from Python's global generator at every ping, from a thread of its own.
    stored = store(tmp_path, np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32), n_neighbors=5)
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            random.random()
            time.sleep(0)

    other = threading.Thread(target=draw)
    fit(stored.source, stored.graph, str(tmp_path / "quiet"), short(batch_size=64))
    other.start()
    try:
        fit(stored.source, stored.graph, str(tmp_path / "disturbed"), short(batch_size=64))
    finally:
        stop.set()
        other.join()
    weights = [artefact.load_encoder(str(tmp_path / name)).get_weights() for name in ("quiet", "disturbed")]
    for quiet, disturbed in zip(*weights, strict=True):
        np.testing.assert_array_equal(quiet, disturbed)


@pytest.mark.long
@pytest.mark.parametrize("kernel", ["umap", "umap-learn"])
def test_ten_thousand_steps_on_equal_rows_in_bfloat16_stay_finite(tmp_path: Path, kernel: str) -> None:
    rows = np.repeat(np.random.default_rng(0).normal(size=(20, 5)), 10, axis=0).astype(np.float32)
    rows[:40] = 3.0  # constant, and all alike
    asked = short(kernel=kernel, dtype_policy="mixed_bfloat16", batch_size=16, n_epochs=200, early_stopping=False)
    stored = store(tmp_path, rows, n_neighbors=8)
    manifest = fit(stored.source, stored.graph, str(tmp_path / "model"), asked)
    assert manifest["steps"] >= 10_000
    assert manifest["non_finite_step"] is None
    assert np.isfinite(artefact.load_encoder(str(tmp_path / "model")).predict(rows, verbose=0)).all()
