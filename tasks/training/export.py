"""The training room's exports: an encoder or decoder as ONNX, for serving without Keras.

Keras writes TensorFlow's graphs through tf2onnx (the `onnx` extra); a model trained on JAX opens there too.
"""

import importlib.util
import tempfile
from pathlib import Path

import keras
import numpy as np

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError


def export_onnx(network: keras.Model, url: str) -> None:
    """Write `network` as the ONNX object `url`; its input is float32 (batch, *row_shape).

    Raises
    ------
    InputError
        When the packages of the `onnx` extra are missing.
    """
    writer = "tf2onnx" if keras.backend.backend() == "tensorflow" else "jax2onnx"
    missing = [name for name in ("onnx", writer) if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"ONNX needs {' and '.join(missing)}, not installed here. Install pumascale[onnx] and export with "
            "KERAS_BACKEND=tensorflow, which opens models of either backend."
        )
    network(np.zeros((1, *network.input_shape[1:]), np.float32))  # Keras exports only what it has called
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        network.export(file, format="onnx", verbose=False)
        urls.write_bytes(url, file.read_bytes())
