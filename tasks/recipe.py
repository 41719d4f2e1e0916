"""How a map is made anew so that its readers find their way: the old parameters, and the old places of the rows."""

from functools import partial

import numpy as np

from pumascale.tasks.parameters import GraphParameters, TrainingParameters
from pumascale.tasks.storage import (
    arrays,
    chunk_objects,
    fingerprints,
    graph_store,
    lease,
    manifests,
    model_store,
    urls,
)
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.failures import with_a_store

# `landmark_loss_weight` while the old map is held: how far a layout pulls each old row back per epoch. At .1, .2 and .3
# the rows of 20,000 sentence embeddings moved, with 2,000 new ones, by 5.1, 4.6 and 4.8 % of the map's width in the
# 95th percentile (another seed: 4.9, 4.4, 4.5; old prototypes were not kept then), and on digits the neighbour recall
# of new rows was .521, .519 and .517 (free: .530). A perceptron's loss takes it as a weight: held-out recall .251 at
# .2, .241 at 1 (free: .264).
PULL = 0.2


def read_recipe(model: str) -> tuple[GraphParameters, TrainingParameters, str]:
    """The parameters by which `model` and its graph were made, and the workspace in which.

    Raises
    ------
    InputError
        When they cannot be used for more rows.
    """
    trained = manifests.read_manifest(urls.absolute(model))
    if trained is None:
        raise InputError(
            f"{model} holds no finished model. Expected the URL that train_encoder or `pumascale fit` gave."
        )
    graph = GraphParameters(**graph_store.read_graph_manifest(trained["graph"])["parameters"])
    if graph.precomputed_knn is not None:
        raise InputError(
            f"{model} cannot be retrained by itself: its graph has brought neighbours (graph.precomputed_knn), which "
            "appended rows lack. Leave retrain_above out, or train a model without them."
        )
    training = TrainingParameters(**trained["parameters"])
    if training.warm_start is not None and training.n_training_epochs == 0:
        raise InputError(
            f"{model} cannot be retrained by itself: all that was trained of it is a decoder, for the encoder of "
            f"{training.warm_start}. Leave retrain_above out, or give that model."
        )
    return graph, training, model_store.workspace_of(model)


def write_landmarks(workspace: str, embedding: str, n_rows: int) -> str:
    """Write the places of all rows of `embedding`, NaN for those behind them up to `n_rows`, and by which model.

    Returns
    -------
    str
        URL of the array, float32 (n_rows, n_components), for `training.landmark_positions`.
    """
    name = fingerprints.request_id("landmarks", embedding=embedding, n_rows=n_rows)
    place = urls.join(urls.absolute(workspace), "landmarks", name)
    with_a_store(place, partial(_write_landmarks, place, embedding, n_rows))
    return urls.join(place, "positions")


def _write_landmarks(place: str, embedding: str, n_rows: int) -> None:
    with lease.held(place):
        if manifests.read_manifest(place) is None:
            _copy_places(urls.join(embedding, "embedding"), urls.join(place, "positions"), n_rows)
            manifests.commit(place, {"embedding": embedding, "n_rows": n_rows})


def _copy_places(embedding: str, url: str, n_rows: int) -> None:
    """Shard by shard, so memory holds one; a killed run's shards are written again."""
    old = arrays.open_array(embedding)
    array = arrays.create_array(url, shape=(n_rows, *old.shape[1:]), dtype=np.float32, attributes=dict(old.attrs))
    for start, stop in arrays.row_blocks(n_rows, chunk_objects.object_rows(array)):
        wanted = np.full((stop - start, *old.shape[1:]), np.nan, np.float32)
        known = arrays.read_rows(old, start, max(start, min(stop, old.shape[0])))
        wanted[: len(known)] = known
        array[start:stop] = wanted
