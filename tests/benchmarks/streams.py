"""Training on data that is larger than the memory it is allowed.

    uv run python tests/benchmarks/streams.py quality DATA.npz [--windows 8] [--n-epochs 20] [--seed 42]
    uv run python tests/benchmarks/streams.py memory FOLDER [--gigabytes 20] [--limit-gigabytes 3]

`quality`: ParametricUMAP's network on X (n, d) of DATA.npz, resident and streamed with room for a part of the rows, on
one graph, for as many steps, each in a process of its own. `memory`: a synthetic array of float32 rows in FOLDER, with
a synthetic graph (edges between rows of the same cluster: the training is measured, not the search), trained in a
process whose data segment (RLIMIT_DATA) is limited; both kinds of network. Print tables in Markdown.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pumascale.tasks.storage import arrays, graph_store, manifests
from pumascale.tasks.storage.graph_store import Partition

PARTITION_ROWS, N_FEATURES, N_NEIGHBORS = 25_000, 1024, 15
CODE = """
import json, sys, time
from pumascale.tasks.compute.memory import peak_memory
from pumascale.tasks.parameters import TrainingParameters
from pumascale.tasks.training.fit import fit
source, graph, place, parameters, limit = sys.argv[1:]
began, done = time.perf_counter(), {"train": 0, "layout": 0}
def progress(stage, steps, total, values):
    done[stage] = time.perf_counter()
    done.setdefault("first", done[stage])
manifest = fit(source, graph, place, TrainingParameters(**json.loads(parameters)), on_progress=progress,
               memory_limit=float(limit))
stepping = max(done["train"], done["layout"]) - done["first"]
print(json.dumps({"seconds": time.perf_counter() - began, "stepping": stepping, "streamed": manifest["streamed"],
                  "steps": manifest["steps"], "peak": peak_memory()}))
"""


def train(source: str, graph: str, place: str, limit: float, rlimit: int | None, **parameters: Any) -> dict[str, Any]:
    """Train in a process of its own; what it printed, with the whole time."""
    command = [sys.executable, "-c", CODE, source, graph, place, json.dumps(parameters), str(limit)]
    bound = None if rlimit is None else lambda: resource.setrlimit(resource.RLIMIT_DATA, (rlimit, rlimit))
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet, preexec_fn=bound)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def quality(data: Path, n_windows: int, n_epochs: int, seed: int) -> None:
    """The table of the two kinds of feeding."""
    from pumascale.tasks.parameters import GraphParameters
    from pumascale.tasks.quality.measure import measure

    content = np.load(data)
    n_rows, n_features = content["X"].shape
    with tempfile.TemporaryDirectory() as name:
        source, graph = f"{name}/rows", f"{name}/graph"
        arrays.create_array(source, shape=content["X"].shape, dtype=content["X"].dtype)[:] = content["X"]
        build(source, graph, GraphParameters(n_partitions=8 * n_windows))
        print("| feed | trained: recall, trust | held-out: recall, trust | steps/s | peak GB |\n|---|---|---|---|---|")
        whole = 3 * content["X"].dtype.itemsize * n_features * n_rows  # see `projected_memory`: edges not counted
        for feed, limit in (
            ("resident", 1e12),
            (f"streamed, a window of 1/{n_windows} of the rows", whole / n_windows),
        ):
            place = f"{name}/{feed.split(',')[0]}"
            found = train(source, graph, place, limit, None, encoder="mlp", n_epochs=n_epochs, random_state=seed)
            held_out = np.load(f"{place}/held_out.npy")
            embed(source, place)
            measured = measure(source, f"{place}/map", held_out=held_out)
            figures = [
                f"{measured[kind]['neighbor_recall']:.3f} / {measured[kind]['trustworthiness']:.3f}"
                for kind in ("trained", "held_out")
            ]
            speed = found["steps"] / found["stepping"]
            print(f"| {feed} | {' | '.join(figures)} | {speed:.0f} | {found['peak'] / 2**30:.1f} |", flush=True)


def build(source: str, graph: str, parameters: Any, n_workers: int | None = None) -> dict[str, Any]:
    """The graph, on a local cluster; its manifest."""
    from functools import partial

    from pumascale.tasks.compute.bounded_map import bounded_map
    from pumascale.tasks.compute.cluster import open_client, worker_memory, workers_per_host
    from pumascale.tasks.graph import pipeline
    from pumascale.tasks.parameters import ComputeParameters

    with open_client(ComputeParameters(n_workers=n_workers)) as client:
        run, memory = partial(bounded_map, client), worker_memory(client)
        manifest = pipeline.build(
            source, graph, parameters, run=run, worker_memory=memory, n_workers=workers_per_host(client)
        )
    manifests.commit(graph, manifest)
    return manifest


def embed(source: str, place: str) -> None:
    """All rows through the trained network, in memory."""
    from pumascale.tasks.training import artefact

    rows = arrays.open_array(source)
    places = artefact.load_encoder(place).predict(np.asarray(rows[:], np.float32), batch_size=8192, verbose=0)
    arrays.create_array(f"{place}/map", shape=places.shape, dtype=places.dtype)[:] = places


def memory(folder: Path, gigabytes: float, limit: float) -> None:
    """The table of both networks on an array of `gigabytes`."""
    n_rows = int(gigabytes * 1e9 / (4 * N_FEATURES)) // PARTITION_ROWS * PARTITION_ROWS
    source, graph = str(folder / "rows"), str(folder / "graph")
    if manifests.read_manifest(graph) is None:
        synthesize(source, graph, n_rows)
    print(f"{n_rows} rows of {N_FEATURES} float32, {n_rows * N_FEATURES * 4 / 1e9:.1f} GB; {limit} GB allowed\n")
    print("| network | feed | seconds | peak GB |\n|---|---|---|---|")
    once = {"loss_report_frequency": 1, "early_stopping": False}
    for encoder, settings in (("prototypes", {"n_epochs": 20}), ("mlp", {"n_epochs": 2, "batch_size": 10_000, **once})):
        with tempfile.TemporaryDirectory() as place:
            began = time.perf_counter()
            found = train(source, graph, place, 0.4e9 * limit, int(limit * 1e9), encoder=encoder, **settings)
            feed = "streamed" if found["streamed"] else "in blocks"
            print(f"| {encoder} | {feed} | {time.perf_counter() - began:.0f} | {found['peak'] / 1e9:.2f} |", flush=True)


def synthesize(source: str, graph: str, n_rows: int) -> None:
    """Rows in clusters of a partition each, and edges from every row to others of its cluster nearby."""
    generator = np.random.default_rng(0)
    array = arrays.create_array(source, shape=(n_rows, N_FEATURES), dtype=np.float32)
    pool = generator.normal(size=(2 * PARTITION_ROWS, N_FEATURES)).astype(np.float32)
    head = np.repeat(np.arange(PARTITION_ROWS, dtype=np.int32), N_NEIGHBORS - 1)
    for partition in range(n_rows // PARTITION_ROWS):
        first = generator.integers(PARTITION_ROWS)
        rows = pool[first : first + PARTITION_ROWS] + 3 * generator.normal(size=N_FEATURES).astype(np.float32)
        ids = np.arange(partition * PARTITION_ROWS, (partition + 1) * PARTITION_ROWS)
        array[ids[0] : ids[-1] + 1] = rows
        arrays.write_whole(graph_store.partition_url(graph, partition, "data"), rows)
        tail = ((head + generator.integers(1, 50, len(head))) % PARTITION_ROWS).astype(np.int32)
        weight = (generator.uniform(0.5, 1, len(head)) ** 4).astype(np.float32)
        graph_store.write_partition(graph, partition, Partition(ids, head, tail, weight))
    counts = {"n_rows": n_rows, "n_partitions": n_rows // PARTITION_ROWS, "heaviest": 1.0}
    manifests.commit(graph, counts | {"metric": "euclidean"})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "memory"])
    parser.add_argument("place", type=Path)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--n-epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--limit-gigabytes", type=float, default=3)
    asked = parser.parse_args()
    if asked.what == "quality":
        quality(asked.place, asked.windows, asked.n_epochs, asked.seed)
    else:
        memory(asked.place, asked.gigabytes, asked.limit_gigabytes)


if __name__ == "__main__":
    main()
