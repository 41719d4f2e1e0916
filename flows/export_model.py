"""A trained network for serving without pumascale: ONNX, TensorFlow's SavedModel, or LiteRT for small devices."""

from typing import Any

from prefect import flow

from pumascale.tasks.export_model import ModelFormat, Network
from pumascale.tasks.export_model import export_model as export_task
from pumascale.tasks.preflight import preflight_export_model


@flow(name="export-model")
def export_model(model: str, place: str, to: ModelFormat = "onnx", network: Network = "encoder") -> dict[str, Any]:
    """Write the encoder or the decoder of a model in another tool's format.

    Args:
        model: URL of a finished model.
        place: URL of the file to write, or of the folder of a SavedModel.
        to: onnx, saved_model (TensorFlow's) or litert (a .tflite file).
        network: encoder (rows to coordinates) or decoder (back).
    """
    preflight_export_model(model, place, to, network)
    return export_task(model, place, to, network)
