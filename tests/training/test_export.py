"""ONNX gives what Keras gives."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from pumascale.tasks.training import artefact
from pumascale.tasks.training.export import export_onnx
from pumascale.tasks.training.networks import mlp_decoder
from pumascale.tasks.training.prototypes import prototype_encoder
from tests.training.brought import convolutional


def served(network: keras.Model, file: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    export_onnx(network, str(file))
    session = onnxruntime.InferenceSession(str(file))
    return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_prototypes", [40, 1500])
def test_the_prototype_encoder(tmp_path: Path, metric: str, n_prototypes: int) -> None:
    generator = np.random.default_rng(0)
    encoder = prototype_encoder((8,), 2, n_prototypes, metric, 1.0)
    keys = generator.normal(size=(n_prototypes, 8)).astype(np.float32)
    encoder.get_layer("prototypes").set_keys(keys)
    encoder.get_layer("prototypes").set_values(keys[:, :2])
    rows = generator.normal(size=(25, 8)).astype(np.float32)
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
