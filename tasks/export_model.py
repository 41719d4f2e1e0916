"""Door: a trained network for serving without pumascale.

model --export_model--> an ONNX or LiteRT file, or a SavedModel folder
"""

from typing import Any, Literal

from prefect import task

from pumascale.tasks.run_page import link, publish_markdown
from pumascale.tasks.storage import model_store, urls
from pumascale.tasks.storage.failures import with_a_store

ModelFormat = Literal["onnx", "saved_model", "litert"]
Network = Literal["encoder", "decoder"]


@task
def export_model(model: str, place: str, to: ModelFormat = "onnx", network: Network = "encoder") -> dict[str, Any]:
    """Write the encoder or the decoder of a finished model in another tool's format.

    Parameters
    ----------
    model : str
        URL of a finished model.
    place : str
        URL of the file to write, or of the folder of a SavedModel.

    Returns
    -------
    dict
        `model`, `network`, `place` and `to`.

    Raises
    ------
    InputError
        When there is no finished model or no such network in it, or what writes the format is not installed.
    """
    from pumascale.tasks.training import artefact
    from pumascale.tasks.training.export import export_network

    model, place = urls.absolute(model), urls.absolute(place)
    model_store.read_model(model)
    load = artefact.load_decoder if network == "decoder" else artefact.load_encoder

    def write() -> dict[str, Any]:
        export_network(load(model), place, to)
        return {"model": model, "network": network, "place": place, "to": to}

    done = with_a_store(place, write)
    publish_markdown("export-model", f"The {network} of {link(model)} as {to}: {link(place)}")
    return done
