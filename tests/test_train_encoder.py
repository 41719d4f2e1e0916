"""Which model is asked for: by what was brought, and not only by where it lies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.recipe import write_landmarks
from pumascale.tasks.storage import arrays, fingerprints
from pumascale.tasks.train_encoder import _train, model_place
from tests.training.conftest import short, store_edges


@pytest.mark.parametrize("name", ["landmark_positions", "reconstruction_validation", "encoder", "decoder"])
def test_other_data_at_the_same_url_asks_for_another_model(tmp_path: Path, name: str) -> None:
    brought = tmp_path / "brought.keras"

    def bring(value: int) -> str:
        if "coder" in name:
            brought.write_bytes(bytes([value]))
        else:
            arrays.write_whole(str(brought), np.full((5, 2), value, np.float32))
        return model_place("graph", str(tmp_path), TrainingParameters(**{name: str(brought)}))

    first = bring(1)
    assert first == model_place("graph", str(tmp_path), TrainingParameters(**{name: str(brought)}))
    assert bring(2) != first


@pytest.mark.parametrize(
    "parameters",
    [
        {"encoder": "my_network:build"},
        {"decoder": "my_network:build"},
        {"optimizer": "my_network:build"},
        {"landmark_loss_fn": "my_network:build"},
        {"parametric_reconstruction_loss_fcn": "my_network:build"},
        {"callbacks": ["my_network:build"]},
        {"callbacks": [{"class_name": "my_network:build", "config": {}}]},
    ],
)
def test_other_code_at_the_same_import_path_asks_for_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def place(code: str) -> str:
        (tmp_path / "my_network.py").write_text(code)
        return model_place("graph", str(tmp_path), TrainingParameters(**parameters))

    first = place("width = 1")
    assert place("width = 2") != first
    assert place("width = 1") == first


def test_an_update_that_goes_on_holds_the_same_landmarks(tmp_path: Path) -> None:
    arrays.write_whole(str(tmp_path / "embedding"), np.zeros((20, 2), np.float32))

    def place() -> str:
        held = write_landmarks(str(tmp_path), str(tmp_path), n_rows=30)
        return model_place("graph", str(tmp_path), TrainingParameters(landmark_positions=held))

    assert place() == place()


def test_a_model_knows_the_rows_that_it_was_trained_on_and_not_those_that_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumascale.tasks.report import loss

    draw, ring = loss.draw_loss, np.arange(60)
    stored = store_edges(tmp_path, np.random.default_rng(0).normal(size=(60, 4)), ring, (ring + 1) % 60, np.ones(60))
    before = fingerprints.fingerprint_source(stored.source)

    def append_and_draw(*asked: Any) -> bytes:
        zarr.open_array(stored.source, mode="r+").append(np.ones((5, 4)))
        return draw(*asked)

    monkeypatch.setattr(loss, "draw_loss", append_and_draw)
    made = _train(stored.source, stored.graph, str(tmp_path / "model"), short(n_epochs=2))
    assert made["source_fingerprint"] == before != fingerprints.fingerprint_source(stored.source)
