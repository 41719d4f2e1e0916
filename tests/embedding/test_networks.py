"""Trained networks as functions of arrays."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.embedding import networks
from pumascale.tasks.embedding.encode import encode
from pumascale.tasks.embedding.networks import encoder_on_workers, load_decoder, load_encoder
from pumascale.tasks.storage import arrays, urls
from pumascale.tasks.storage.errors import InputError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose encoder has a layer of a module of its own."""
    import keras

    place = tmp_path_factory.mktemp("model")
    (place / "own_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('own')\n"
        "class Halve(keras.layers.Layer):\n"
        "    def call(self, inputs):\n"
        "        return inputs / 2\n"
    )
    sys.path.insert(0, str(place))
    import own_layers

    inputs = keras.Input((3, 4))
    outputs = own_layers.Halve()(keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    keras.Model(inputs, outputs).save(place / "encoder.keras")
    (place / "model.json").write_text(json.dumps({"modules": ["own_layers"]}))
    return str(place)


def test_an_encoder_is_read_from_any_store(workspace: str, model: str) -> None:
    import keras

    for name in ("encoder.keras", "model.json"):
        urls.write_bytes(urls.join(workspace, "model", name), Path(model, name).read_bytes())
    keras.saving.get_custom_objects().pop("own>Halve", None)  # as in a process where nobody has registered the layer
    sys.modules.pop("own_layers", None)
    rows = np.random.default_rng(0).normal(size=(500, 3, 4)).astype(np.float32)
    arrays.create_array(f"{workspace}/rows", shape=rows.shape, dtype=rows.dtype)[:] = rows
    encoder = load_encoder(f"{workspace}/model")
    encode(f"{workspace}/rows", encoder, f"{workspace}/map", row_shape=(3, 4), out_shape=(2,), batch_size=128)
    expected = keras.saving.load_model(f"{model}/encoder.keras").predict(rows, verbose=0)
    np.testing.assert_allclose(arrays.open_array(f"{workspace}/map")[:], expected, rtol=1e-5, atol=1e-6)


def test_a_worker_keeps_one_encoder_however_many_it_has_used(model: str, tmp_path: Path) -> None:
    rows = np.ones((4, 3, 4), np.float32)
    shutil.copytree(model, tmp_path / "other")
    places = [encoder_on_workers(place)(rows) for place in (model, str(tmp_path / "other"))]
    np.testing.assert_array_equal(*places)
    assert networks._loaded_encoder.cache_info().currsize == 1


def test_a_model_without_a_decoder_says_so(model: str) -> None:
    with pytest.raises(InputError, match="has no decoder"):
        load_decoder(model)


def test_no_model_and_no_keras_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No Keras model at"):
        load_encoder(str(tmp_path))
    (tmp_path / "encoder.keras").write_bytes(b"not a model")
    with pytest.raises(InputError, match="cannot be read as a Keras model"):
        load_encoder(str(tmp_path))
