"""Small real graphs, and one trained model that many tests look at (Keras takes 14 s to import)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import umap.umap_
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.storage import arrays, manifests
from pumascale.tasks.storage.graph_store import Partition, write_partition
from pumascale.tasks.training.adjacency import BLOCK_ROWS, Adjacency
from pumascale.tasks.training.sampling import Edges


@dataclass(frozen=True)
class Stored:
    """URLs of a source and its graph."""

    source: str
    graph: str


def store(folder: Path, rows: NDArray[Any], n_neighbors: int = 15) -> Stored:
    """Write `rows` and umap-learn's own graph of their exact neighbours in the schema of the graph store."""
    flat = rows.reshape(len(rows), -1).astype(np.float32)
    # umap-learn's own search compiles for half a minute.
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors).fit(flat).kneighbors(flat)
    graph = umap.umap_.fuzzy_simplicial_set(
        flat, n_neighbors, np.random.RandomState(0), "euclidean",
        knn_indices=indices, knn_dists=distances.astype(np.float32),
    )[0].tocoo()  # fmt: skip
    once = graph.row < graph.col
    return store_edges(folder, rows, graph.row[once], graph.col[once], graph.data[once])


def store_edges(
    folder: Path, rows: NDArray[Any], head: NDArray[Any], tail: NDArray[Any], weight: NDArray[Any]
) -> Stored:
    """Write `rows` and the given edges as one partition."""
    place = Stored(str(folder / "source.zarr"), str(folder / "graph"))
    arrays.create_array(place.source, shape=rows.shape, dtype=rows.dtype)[:] = rows
    arrays.create_group(place.graph)
    content = Partition(np.arange(len(rows)), head.astype(np.int32), tail.astype(np.int32), weight.astype(np.float32))
    write_partition(place.graph, 0, content)
    manifests.commit(
        place.graph,
        {"n_rows": len(rows), "n_partitions": 1, "metric": "euclidean", "heaviest": float(weight.max(initial=0))},
    )
    return place


def adjacency_of(n_rows: int, *parts: Edges, block_rows: int = BLOCK_ROWS) -> Adjacency:
    """The adjacency of edges that are in memory."""
    ends = [end for edges in parts for end in (edges.head, edges.tail)]
    degrees = np.bincount(np.concatenate([np.empty(0, np.int64), *ends]), minlength=n_rows)
    return Adjacency(degrees.astype(np.int32), parts, block_rows)


def short(**changes: Any) -> TrainingParameters:
    """Parameters of a training of a few seconds."""
    quick = {"encoder": "mlp", "hidden_units": [32, 32], "n_epochs": 50, "loss_report_frequency": 4, "batch_size": 256}
    return TrainingParameters(**{**quick, **changes})


@pytest.fixture(scope="session")
def digits() -> NDArray[np.float32]:
    """600 digits of 64 pixels."""
    return np.asarray(load_digits().data[:600], np.float32)


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, digits: NDArray[np.float32]) -> Stored:
    """The digits and their graph."""
    return store(tmp_path_factory.mktemp("digits"), digits)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, stored: Stored) -> tuple[str, dict[str, Any]]:
    """A trained artefact and its manifest."""
    from pumascale.tasks.training.fit import fit

    place = str(tmp_path_factory.mktemp("model"))
    return place, fit(stored.source, stored.graph, place, short())
