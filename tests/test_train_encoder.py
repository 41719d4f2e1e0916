"""Which model is asked for: by what was brought, and not only by where it lies."""

from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.recipe import write_landmarks
from pumascale.tasks.storage import arrays
from pumascale.tasks.train_encoder import model_place


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


def test_an_update_that_goes_on_holds_the_same_landmarks(tmp_path: Path) -> None:
    arrays.write_whole(str(tmp_path / "embedding"), np.zeros((20, 2), np.float32))

    def place() -> str:
        held = write_landmarks(str(tmp_path), str(tmp_path), n_rows=30)
        return model_place("graph", str(tmp_path), TrainingParameters(landmark_positions=held))

    assert place() == place()
