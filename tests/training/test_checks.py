"""Bad input is refused before any work, in words that say what to change."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training.checks import check
from tests.training.conftest import Stored

BROUGHT = "tests.training.brought"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoder": "nowhere:made"}, "the module 'nowhere' cannot be imported"),
        ({"encoder": f"{BROUGHT}:missing"}, "has no 'missing'"),
        ({"encoder": "prototype"}, "Did you mean 'prototypes'"),
        ({"encoder": f"{BROUGHT}:too_wide"}, r"outputs of shape \(3,\)"),
        ({"encoder": {"class_name": "Nonsense", "config": {}}}, "Keras cannot read this config"),
        ({"encoder": "mlp", "optimizer": "adamant"}, "Keras knows no such name. Did you mean"),
        ({"encoder": "mlp", "callbacks": [{"class_name": "Nothing"}]}, "keras.callbacks has no 'Nothing'"),
        ({"encoder": "mlp", "warm_start": "/nowhere"}, "is missing"),
        ({"a": 1.0}, "Give both, or neither"),
        ({"min_dist": 2.0}, "min_dist=2.0 is larger than training.spread=1.0. Expected at most the spread"),
        ({"parametric_reconstruction": True, "autoencoder_loss": True}, "Choose encoder='mlp'"),
        ({"global_correlation_loss_weight": 1.0}, "Choose encoder='mlp'"),
        ({"dtype_policy": "mixed_bfloat16"}, "or choose encoder='mlp'"),
        ({"monitor": "val_repulsion"}, "Choose encoder='mlp'"),
        ({"encoder": "mlp", "monitor": "val_los"}, "Did you mean 'val_loss'. Expected one of loss, attraction, repul"),
        ({"encoder": "mlp", "monitor": "reconstruction"}, "'reconstruction' is no value of this training"),
        ({"callbacks": [{"class_name": "TerminateOnNaN"}]}, "Choose encoder='mlp'"),
        ({"encoder": "mlp", "n_training_epochs": 0}, "leaves nothing to train but the decoder"),
        ({"parametric_reconstruction": True, "decoder": f"{BROUGHT}:too_wide"}, "decoder takes inputs of shape"),
        (
            {"parametric_reconstruction": True, "parametric_reconstruction_loss_fcn": "mean"},
            "loss_fcn='mean': Keras knows no",
        ),
        ({"parametric_embedding": False, "parametric_reconstruction": True}, "needs an encoder"),
        ({"landmark_positions": "/nowhere"}, "No Zarr array"),
        ({"n_prototypes": 541}, "n_prototypes=541 is more than the 540 trained rows"),
        ({"parametric_embedding": False, "encoder": "mlp"}, "learns places and no network"),
        ({"reconstruction_validation": "/nowhere"}, "validation is about a decoder, and none is trained"),
        ({"encoder": "mlp", "decoder": "mine:build"}, "training.decoder is about a decoder, and none is trained"),
        ({"encoder": "mlp", "autoencoder_loss": True}, "autoencoder_loss is about a decoder, and none is trained"),
    ],
)
def test_what_cannot_be_used_is_refused(stored: Stored, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check(stored.source, TrainingParameters(**changes))


def test_what_can_be_used_passes(stored: Stored) -> None:
    check(stored.source, TrainingParameters())
    check(stored.source, TrainingParameters(n_prototypes=540))
    check(stored.source, TrainingParameters(min_dist=1.0))
    check(stored.source, TrainingParameters(min_dist=2.0, a=1.0, b=1.0))
    check(stored.source, TrainingParameters(encoder="mlp", autoencoder_loss=True, parametric_reconstruction=True))
    check(stored.source, TrainingParameters(encoder="mlp", optimizer=f"{BROUGHT}:slow_adam"))
    check(stored.source, TrainingParameters(encoder="mlp", monitor="val_correlation", global_correlation_loss_weight=1))
    check(stored.source, TrainingParameters(encoder="mlp", monitor="mine", callbacks=[f"{BROUGHT}:Nanning"]))
    by_gradients = {"parametric_reconstruction": True, "autoencoder_loss": True, "global_correlation_loss_weight": 1}
    check(stored.source, TrainingParameters(n_training_epochs=1, **by_gradients))


def test_an_encoder_of_another_kind_than_the_model_that_is_trained_on(stored: Stored, tmp_path: Path) -> None:
    from pumascale.tasks.training.fit import fit

    fit(stored.source, stored.graph, str(tmp_path), TrainingParameters(n_epochs=5))
    with pytest.raises(InputError, match=r"encoder='mlp' came with training.warm_start=.*, a prototype network"):
        check(stored.source, TrainingParameters(encoder="mlp", warm_start=str(tmp_path)))
    check(stored.source, TrainingParameters(warm_start=str(tmp_path)))


def test_landmarks_of_another_length(stored: Stored, tmp_path: Path) -> None:
    url = str(tmp_path / "places.zarr")
    arrays.create_array(url, shape=(599, 2), dtype=np.float32)[:] = 0
    with pytest.raises(InputError, match=r"has shape \(599, 2\), but \(600, 2\) is expected"):
        check(stored.source, TrainingParameters(landmark_positions=url))


@pytest.mark.parametrize(("name", "reason"), [("thano", "is not known"), ("jax", "is not installed")])
def test_a_backend_that_is_not_there(stored: Stored, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    monkeypatch.setenv("KERAS_BACKEND", name)
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(InputError, match=reason):
        check(stored.source, TrainingParameters())


def test_places_of_rows_that_came_behind_the_graph_are_refused(stored: Stored) -> None:
    with pytest.raises(InputError, match="has 600 rows and its graph 500"):
        check(stored.source, TrainingParameters(parametric_embedding=False), 500)
