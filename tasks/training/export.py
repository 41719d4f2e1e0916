"""The training room's exports: an encoder or decoder for serving without Keras, by Keras's own export.

TensorFlow writes them all, and opens models that were trained on JAX. ONNX needs tf2onnx (the `onnx` extra).
"""

import importlib.util
import tempfile
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

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
        When the backend or the packages that write the format are not there, or an ONNX file gives other values.
    """
    _check_writer(to)
    rows = np.random.default_rng(0).random((32, *(size or 32 for size in network.input_shape[1:])), np.float32)
    expected = keras.ops.convert_to_numpy(network(rows))  # Keras exports only what it has called
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES[to]
        network.export(path, format=KERAS_FORMATS[to], verbose=False)
        if to == "onnx":
            _check_onnx(path, rows, expected)
        _upload(path, url)


def _check_writer(to: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise InputError("TensorFlow writes exports. Set KERAS_BACKEND=tensorflow: it opens models of either backend.")
    missing = [name for name in PACKAGES.get(to, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {' and '.join(missing)}, not installed here. Install pumascale[onnx].")


def _check_onnx(path: Path, rows: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Refuse a file that does not give what Keras gives, where onnxruntime is there to run it."""
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    given = session.run(None, {session.get_inputs()[0].name: rows})[0]
    # A row between two prototypes may fall to either side by rounding.
    apart = np.quantile(np.abs(given - expected).reshape(len(rows), -1).max(axis=1), 0.9)
    if not apart <= 0.01 * np.abs(expected).max():
        raise InputError(
            f"The ONNX file of this network gives other values than Keras does (by {apart:.2g}): it is not written. "
            "Export to saved_model or litert, or change the layer that tf2onnx cannot translate."
        )


def _upload(path: Path, url: str) -> None:
    """A file, or a folder with the object that readers open first written last."""
    if path.is_file():
        urls.upload_file(path, url)
        return
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.suffix == ".pb")
    for file in files:
        urls.upload_file(file, urls.join(url, file.relative_to(path).as_posix()))
