"""How a map is made anew so that its readers find their way: the old parameters, and the old places of some rows."""

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import GraphParameters, TrainingParameters
from pumascale.tasks.storage import arrays, fingerprints, graph_store, lease, manifests, model_store, urls
from pumascale.tasks.storage.errors import InputError

# On digits (1,200 rows, then 1,797) the old rows moved by 1.7, 1.0, 0.7 and 0.6 % of the map's width in the median, and
# by 10.1, 6.7, 4.7 and 4.9 % in the 95th percentile, when 10, 20, 30 and 50 % of them were held; at a held-out recall
# of .473, .460, .469 and .465, so those that are held cost the map nothing that can be seen.
LANDMARK_SHARE = 0.3


def read_recipe(model: str) -> tuple[GraphParameters, TrainingParameters, str]:
    """The parameters by which `model` and its graph were made, and the workspace in which.

    Raises
    ------
    InputError
        When they cannot be used for more rows.
    """
    trained = manifests.read_manifest(urls.absolute(model))
    if trained is None:
        raise InputError(f"{model} holds no finished model. Expected the URL that train_encoder returned: run it.")
    graph = GraphParameters(**graph_store.read_graph_manifest(trained["graph"])["parameters"])
    if graph.precomputed_knn is not None:
        raise InputError(
            f"{model} cannot be retrained by itself: its graph has brought neighbours (graph.precomputed_knn), which "
            "appended rows lack. Leave retrain_above out, or train a model without them."
        )
    return graph, TrainingParameters(**trained["parameters"]), model_store.workspace_of(model)


def write_landmarks(workspace: str, embedding: str, n_rows: int, random_state: int) -> str:
    """Write the places of some of the rows of `embedding`, NaN for all other of `n_rows` rows.

    Returns
    -------
    str
        URL of the array, float32 (n_rows, n_components), for `training.landmark_positions`.
    """
    asked = {"n_rows": n_rows, "seed": random_state, "share": LANDMARK_SHARE}
    name = fingerprints.request_id("landmarks", embedding=embedding, **asked)
    place = urls.join(urls.absolute(workspace), "landmarks", name)
    with lease.held(place):
        if manifests.read_manifest(place) is None:
            arrays.write_whole(urls.join(place, "positions"), _landmarks(embedding, n_rows, random_state))
            manifests.commit(place, {"embedding": embedding, "n_rows": n_rows})
    return urls.join(place, "positions")


def _landmarks(embedding: str, n_rows: int, random_state: int) -> NDArray[np.float32]:
    places = np.asarray(arrays.open_array(urls.join(embedding, "embedding"))[:n_rows])
    placed = np.flatnonzero(np.isfinite(places).all(axis=1))
    generator = np.random.Generator(np.random.Philox(key=[random_state, 3]))
    chosen = generator.choice(placed, int(np.ceil(LANDMARK_SHARE * len(placed))), replace=False)
    wanted = np.full((n_rows, places.shape[1]), np.nan, np.float32)
    wanted[chosen] = places[chosen]
    return wanted
