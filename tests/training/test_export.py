"""ONNX, SavedModel and LiteRT give what Keras gives."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow
from numpy.typing import NDArray

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import artefact
from pumascale.tasks.training.export import export_network
from pumascale.tasks.training.networks import mlp_decoder
from pumascale.tasks.training.prototypes import prototype_encoder
from tests.training.brought import convolutional


def prototypes_at_random(n_prototypes: int, metric: str) -> tuple[keras.Model, NDArray[np.float32]]:
    generator, center = np.random.default_rng(0), 1000 if metric == "euclidean" else 0
    encoder = prototype_encoder((8,), 2, n_prototypes, metric, 1.0)
    keys = generator.normal(size=(n_prototypes, 8)).astype(np.float32)
    encoder.get_layer("prototypes").set_keys(keys, np.full(8, center, np.float32))
    encoder.get_layer("prototypes").set_values(keys[:, :2])
    return encoder, center + generator.normal(size=(25, 8)).astype(np.float32)


def served(network: keras.Model, file: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    export_network(network, str(file))
    session = onnxruntime.InferenceSession(str(file))
    return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation"])
@pytest.mark.parametrize("n_prototypes", [40, 1500])
def test_the_prototype_encoder(tmp_path: Path, metric: str, n_prototypes: int) -> None:
    encoder, rows = prototypes_at_random(n_prototypes, metric)
    expected = encoder.predict(rows, verbose=0)
    np.testing.assert_allclose(served(encoder, tmp_path / "encoder.onnx", rows), expected, atol=1e-4)


def test_the_plain_encoder(trained: tuple[str, dict[str, Any]], digits: NDArray[np.float32], tmp_path: Path) -> None:
    encoder = artefact.load_encoder(trained[0])
    expected = encoder.predict(digits, verbose=0)
    np.testing.assert_allclose(served(encoder, tmp_path / "encoder.onnx", digits), expected, atol=1e-3)


def test_a_convolutional_encoder_and_a_decoder(tmp_path: Path, digits: NDArray[np.float32]) -> None:
    images = digits[:20].reshape(-1, 8, 8)
    encoder, decoder = convolutional((8, 8), 2), mlp_decoder((8, 8), 2, [16])
    places = served(encoder, tmp_path / "encoder.onnx", images)
    np.testing.assert_allclose(places, encoder.predict(images, verbose=0), atol=1e-4)
    rows = served(decoder, tmp_path / "decoder.onnx", places)
    np.testing.assert_allclose(rows, decoder.predict(places, verbose=0), atol=1e-4)


def test_the_prototype_encoder_as_a_saved_model_on_any_store(workspace: str, tmp_path: Path) -> None:
    encoder, rows = prototypes_at_random(1500, "cosine")
    url = urls.join(workspace, "saved")
    export_network(encoder, url, "saved_model")
    for name in urls.list_objects(url):
        urls.write_bytes(f"{tmp_path}/copy/{name}", urls.read_bytes(urls.join(url, name)) or b"")
    loaded = tensorflow.saved_model.load(str(tmp_path / "copy"))
    np.testing.assert_allclose(loaded.serve(rows), encoder.predict(rows, verbose=0), atol=1e-4)


def test_the_prototype_encoder_as_litert(tmp_path: Path) -> None:
    encoder, rows = prototypes_at_random(1500, "correlation")
    export_network(encoder, str(tmp_path / "encoder.tflite"), "litert")
    interpreter = tensorflow.lite.Interpreter(str(tmp_path / "encoder.tflite"))
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(taken["index"], rows.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], rows)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(given["index"]), encoder.predict(rows, verbose=0), atol=1e-4)


def test_an_onnx_file_that_gives_other_values_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, other = (mlp_decoder((8,), 2, [4]) for _ in range(2))
    other(np.zeros((1, 2), np.float32))
    monkeypatch.setattr(decoder, "export", other.export)
    with pytest.raises(InputError, match="gives other values than Keras does"):
        export_network(decoder, str(tmp_path / "decoder.onnx"))
    assert not (tmp_path / "decoder.onnx").exists()


@pytest.mark.parametrize(
    ("backend", "found", "reason"), [("jax", True, "KERAS_BACKEND=tensorflow"), ("tensorflow", None, "pumascale.onnx")]
)
def test_what_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, found: bool | None, reason: str
) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(InputError, match=reason):
        export_network(mlp_decoder((8,), 2, [4]), str(tmp_path / "decoder.onnx"))
    assert not (tmp_path / "decoder.onnx").exists()
