"""What users bring: read where it can be, and refused in words that say which part cannot."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import configs
from pumascale.tasks.training.networks import build_networks, mlp_encoder
from tests.training.conftest import short

BROUGHT = "tests.training.brought"


def encoder_of(spec: str | dict[str, Any], row_shape: tuple[int, ...] = (8, 8)) -> keras.Model:
    return build_networks(short(encoder=spec), row_shape, 10).encoder


def test_an_encoder_by_import_path() -> None:
    assert encoder_of(f"{BROUGHT}:convolutional").output_shape == (None, 2)


def test_an_encoder_of_images_of_any_size() -> None:
    assert encoder_of(f"{BROUGHT}:of_images_of_any_size", (8, 8, 1)).input_shape == (None, None, None, 1)
    of_colours = keras.Sequential([keras.Input((None, None, 3)), keras.layers.ReLU()])
    with pytest.raises(InputError, match=r"takes inputs of shape \(None, None, 3\), but \(8, 8\)"):
        configs.check_network("encoder", of_colours, (8, 8), (2,))


def test_an_encoder_by_config_and_by_its_json_text() -> None:
    config = json.loads(mlp_encoder((8, 8), 2, [5]).to_json())
    assert encoder_of(config).count_params() == encoder_of(json.dumps(config)).count_params() == 64 * 5 + 5 + 10 + 2


def test_an_encoder_by_url(tmp_path: Path) -> None:
    network = mlp_encoder((8, 8), 2, [5])
    network.save(tmp_path / "mine.keras")
    found = encoder_of(str(tmp_path / "mine.keras"))
    assert (found.get_weights()[0] == network.get_weights()[0]).all()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (f"{BROUGHT}:too_wide", r"outputs of shape \(3,\), but \(2,\) is expected"),
        (f"{BROUGHT}:of_other_rows", r"inputs of shape \(3,\), but \(8, 8\)"),
        (f"{BROUGHT}:not_finite", "not finite"),
        (f"{BROUGHT}:no_network", "returned a str"),
        (f"{BROUGHT}:Subclassed", r"is a Subclassed, .* keras.Model\(inputs, network\(inputs\)\)"),
        (f"{BROUGHT}:of_images", r"failed when called .*\(\(8, 8\), 2\) \(ValueError: not enough values"),
        (f"{BROUGHT}:missing", "has no 'missing'"),
        ("tests.nowhere:function", "the module 'tests.nowhere' cannot be imported"),
        ("mpl", "is not known"),
        ("/nowhere/mine.keras", "No Keras model at"),
        ({"class_name": "Nonsense", "config": {}}, "Keras cannot read this config"),
        ("{not json", "is no JSON"),
    ],
)
def test_an_encoder_that_cannot_be_used(spec: str | dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        encoder_of(spec)


def test_a_decoder_of_the_wrong_shape() -> None:
    config = json.loads(mlp_encoder((8, 8), 2, [5]).to_json())
    parameters = short(parametric_reconstruction=True, decoder=config)
    with pytest.raises(InputError, match=r"training.decoder takes inputs of shape \(8, 8\), but \(2,\)"):
        build_networks(parameters, (8, 8), 10)


def test_optimizers_by_name_config_and_path() -> None:
    assert configs.build_optimizer(None, 0.5).clipvalue == 4.0
    assert isinstance(configs.build_optimizer("rmsprop", 0.5), keras.optimizers.RMSprop)
    config = keras.saving.serialize_keras_object(keras.optimizers.SGD(0.25))
    assert float(configs.build_optimizer(config, 0.5).learning_rate.numpy()) == 0.25
    assert isinstance(configs.build_optimizer(f"{BROUGHT}:slow_adam", 0.5), keras.optimizers.Adam)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_network", "cannot be made from {}: no_network.. missing"),
        ("Nanning", "gives a Nanning. Expected a keras Opt"),
    ],
)
def test_an_import_path_that_makes_no_optimizer(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"training\.optimizer: {BROUGHT}:{name} {reason}"):
        configs.build_optimizer(f"{BROUGHT}:{name}", 0.1)


def test_what_keras_does_not_know() -> None:
    with pytest.raises(InputError, match=r"training\.optimizer='adamm': Keras knows no such name. .* 'adam'"):
        configs.build_optimizer("adamm", 0.1)
    with pytest.raises(InputError, match=r"training\.optimizer: Keras cannot read"):
        configs.build_optimizer({"class_name": "Adamant", "config": {}}, 0.1)
    with pytest.raises(InputError, match=r"landmark_loss_fn='mean_square_error': .* Did you mean 'mean_squared_error'"):
        configs.build_loss("landmark_loss_fn", "mean_square_error")


def test_losses_by_name_config_and_path() -> None:
    ones, zeros = np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32)
    config = {"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}
    for spec, value in (("mean_absolute_error", 1.0), (config, np.log(2)), (f"{BROUGHT}:squared", 3.0)):
        found = configs.build_loss("parametric_reconstruction_loss_fcn", spec)(ones, zeros)
        assert float(np.mean(found)) == pytest.approx(value), spec


def test_callbacks_by_config_and_path() -> None:
    config = {"class_name": "ReduceLROnPlateau", "config": {"monitor": "loss", "factor": 0.5}}
    assert configs.build_callback(config).factor == 0.5
    assert type(configs.build_callback(f"{BROUGHT}:Nanning")).__name__ == "Nanning"
    brake = {"class_name": "tests.deployments.brake:Brake", "config": {"path": "brake"}}
    assert type(configs.build_callback(brake)).__name__ == "Brake"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"class_name": "EarlyStoping"}, "keras.callbacks has no 'EarlyStoping'"),
        ({"class_name": "EarlyStopping", "config": {"patiense": 2}}, "cannot be made from"),
        ({"class_name": "ReduceLROnPlateau", "config": {"factor": 2}}, "cannot be made from"),
        (f"{BROUGHT}:slow_adam", "gives a Adam. Expected a keras Callback"),
    ],
)
def test_a_callback_that_cannot_be_made(spec: str | dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        configs.build_callback(spec)
