"""Door: the encoder (and decoder) of a graph.

source.zarr + graph --train_encoder--> <workspace>/models/<id>
"""

import time
from functools import partial
from typing import Any
from uuid import UUID

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.run_page import Progress, publish_markdown, publish_picture
from pumascale.tasks.stage import Stage, costs, run_stage
from pumascale.tasks.storage import fingerprints, graph_store, manifests, urls

SECONDS_BETWEEN_PICTURES = 15


def train_encoder(
    source: str,
    graph: str,
    workspace: str,
    parameters: TrainingParameters | None = None,
    salt: str | None = None,
) -> Stage:
    """Train the encoder that places the rows of `source` by the edges of `graph`, or find the one trained before.

    Parameters
    ----------
    source : str
        URL of the Zarr array that the graph was built from.
    graph : str
        URL of a finished graph.
    workspace : str
        URL prefix under which `models/<id>` is made.
    salt : str, optional
        Anything that makes this request differ from an equal one.

    Returns
    -------
    Stage
        Its `url` is the model's place: `encoder.keras`, `model.json`, `history.json`, `loss.png`.

    Raises
    ------
    InputError
        Before any work, when there is no such graph or a parameter cannot be used.
    """
    from pumascale.tasks.training import checks

    parameters, source, graph = parameters or TrainingParameters(), urls.absolute(source), urls.absolute(graph)
    checks.check(source, parameters, graph_store.read_graph_manifest(graph)["n_rows"])
    place = model_place(graph, workspace, parameters, salt)
    return run_stage("train_encoder", place, [source, graph], partial(_train, source, graph, place, parameters))


def model_place(graph: str, workspace: str, parameters: TrainingParameters, salt: str | None = None) -> str:
    """Where the model of this request is, or will be."""
    content, options = _brought(parameters), parameters.model_dump()
    name = fingerprints.request_id("model", graph=graph, content=content, parameters=options, salt=salt)
    return urls.join(urls.absolute(workspace), "models", name)


def _brought(parameters: TrainingParameters) -> list[str]:
    """What lies at the URLs and import paths among the parameters: other data or code there makes another model."""
    from pumascale.tasks.training.specs import code_brought

    arrays = [url for url in (parameters.landmark_positions, parameters.reconstruction_validation) if url]
    networks = [str(spec) for spec in (parameters.encoder, parameters.decoder) if str(spec).endswith(".keras")]
    files = [fingerprints.digest(urls.read_bytes(url)) for url in networks]
    files += [fingerprints.digest(code) for code in code_brought(parameters)]
    return [fingerprints.fingerprint_tree(url) for url in arrays] + files


def _train(source: str, graph: str, place: str, parameters: TrainingParameters) -> dict[str, Any]:
    curve = LossCurve(Progress("train_encoder"))  # on the page before Keras, which takes its time
    from pumascale.tasks.compute.memory import memory_limit
    from pumascale.tasks.report.loss import draw_loss
    from pumascale.tasks.report.tables import headline, stage_table
    from pumascale.tasks.training.fit import fit

    started = time.perf_counter()
    limit = memory_limit(parameters.memory_limit)
    fingerprint = fingerprints.fingerprint_source(source)  # before the rows are read: what changes then is seen
    summary = fit(source, graph, place, parameters, on_progress=curve, memory_limit=limit)
    picture = draw_loss(manifests.read_json(urls.join(place, "history.json")) or {}, summary["best_epoch"])
    urls.write_bytes(urls.join(place, "loss.png"), picture)
    origin = {"source": source, "source_fingerprint": fingerprint, "graph": graph}
    manifest = manifests.commit(place, summary | origin | costs(started, place, source, graph))
    first = headline(manifest, "n_rows", "n_held_out", "best_val_loss", "seconds")
    publish_markdown("train-encoder", stage_table("train_encoder", manifest), first)
    curve.publish(picture)
    return manifest


class LossCurve:
    """Progress with the losses as a picture on the run's page: those told so far, drawn anew at most every 15 s."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._history: dict[str, list[float]] = {}
        self._next = 0.0
        self._shown: UUID | None = None

    def __call__(self, step: str, done: int, total: int, values: dict[str, float]) -> None:
        """Report as `Progress` does."""
        self._progress(step, done, total, values)
        for name, value in values.items():
            self._history.setdefault(name, []).append(value)
        if values and time.monotonic() >= self._next:
            from pumascale.tasks.report.loss import draw_loss

            self.publish(draw_loss(self._history))
            self._next = time.monotonic() + SECONDS_BETWEEN_PICTURES

    def publish(self, picture: bytes) -> None:
        """Show the picture in place of the one before."""
        self._shown = publish_picture("loss", picture, "Loss by term", self._shown)
