"""The training room's exports: an encoder or decoder for serving without Keras, by Keras's own export.

TensorFlow writes them all, and opens models that were trained on JAX. ONNX needs tf2onnx (the `onnx` extra).
"""

import importlib.util
import tempfile
from pathlib import Path

import keras
import numpy as np

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError

KERAS_FORMATS = {"onnx": "onnx", "saved_model": "tf_saved_model", "litert": "litert"}
FILES = {"onnx": "network.onnx", "saved_model": "network", "litert": "network.tflite"}
PACKAGES = {"onnx": ("onnx", "tf2onnx")}


def export_network(network: keras.Model, url: str, to: str = "onnx") -> None:
    """Write `network` for others to run; its input is float32 (batch, *row_shape), of any batch.

    Parameters
    ----------
    url : str
        The object to write, or for "saved_model" the folder.
    to : {"onnx", "saved_model", "litert"}

    Raises
    ------
    InputError
        When the backend or the packages that write the format are not there.
    """
    _check_writer(to)
    network(np.zeros((1, *network.input_shape[1:]), np.float32))  # Keras exports only what it has called
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES[to]
        network.export(path, format=KERAS_FORMATS[to], verbose=False)
        _upload(path, url)


def _check_writer(to: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise InputError("TensorFlow writes exports. Set KERAS_BACKEND=tensorflow: it opens models of either backend.")
    missing = [name for name in PACKAGES.get(to, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {' and '.join(missing)}, not installed here. Install pumascale[onnx].")


def _upload(path: Path, url: str) -> None:
    """A file, or a folder with the object that readers open first written last."""
    if path.is_file():
        urls.upload_file(path, url)
        return
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.suffix == ".pb")
    for file in files:
        urls.upload_file(file, urls.join(url, file.relative_to(path).as_posix()))
