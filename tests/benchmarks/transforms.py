"""Placing rows: the embedding's room against the network alone and against a copy of the rows.

    uv run python -m tests.benchmarks.transforms DATA.npz [--n-rows 100000,400000] [--networks mlp,prototypes]

Rows are X (n, d) of DATA.npz, over and over. On a disk and on the S3 server of the tests (Ceph's RADOS gateway, which
works on the same cores), three contenders, each in a process of its own, its network compiled before the clock starts:

- `encode`: the room that `write_embedding` opens, from a Zarr array to a Zarr array;
- `predict`: `encoder.predict` of rows that are in memory, the places left there;
- `copy`: the array to another by Zarr alone, shard by shard.

The networks are untrained: their speed does not depend on their weights. Prints a table in Markdown: rows/s, encode's
peak memory, which should not depend on the number of rows, and its speed over that of the slower of the other two.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.storage import arrays, chunk_objects, urls

BATCH_SIZE, N_PROTOTYPES, N_COMPONENTS = 8192, 8192, 2


def encode(source: str, network: str, target: str) -> float:
    """Seconds of the embedding's room."""
    from pumascale.tasks.embedding.encode import encode
    from pumascale.tasks.embedding.networks import load_network

    loaded, shape = load_network(network), tuple(arrays.open_array(source).shape[1:])
    loaded(np.zeros((BATCH_SIZE, *shape), np.float32))
    began = time.perf_counter()
    encode(source, loaded, target, row_shape=shape, out_shape=(N_COMPONENTS,), batch_size=BATCH_SIZE)
    return time.perf_counter() - began


def predict(source: str, network: str, target: str) -> float:
    """Seconds of Keras's own `predict`."""
    from pumascale.tasks.training import artefact

    rows, encoder = np.asarray(arrays.open_array(source)[:]), artefact.load_network(network)
    encoder.predict(rows[:BATCH_SIZE], batch_size=BATCH_SIZE, verbose=0)
    began = time.perf_counter()
    encoder.predict(rows, batch_size=BATCH_SIZE, verbose=0)
    return time.perf_counter() - began


def copy(source: str, network: str, target: str) -> float:
    """Seconds of Zarr alone."""
    rows = arrays.open_array(source)
    began = time.perf_counter()
    copied = arrays.create_array(target, shape=rows.shape, dtype=rows.dtype)
    for start, stop in arrays.row_blocks(rows.shape[0], chunk_objects.object_rows(copied)):
        copied[start:stop] = rows[start:stop]
    return time.perf_counter() - began


CONTENDERS = {"encode": encode, "predict": predict, "copy": copy}


def measure(contender: str, source: str, network: str, target: str) -> dict[str, float]:
    """Seconds and peak memory of a contender in a process of its own; what it wrote is removed."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.transforms",
        source,
        "--contender",
        contender,
        "--network",
        network,
        "--target",
        target,
    ]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    urls.remove_tree(target)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(data: Path, sizes: list[int], names: list[str]) -> None:
    """The table, on a disk and on S3."""
    rows = np.load(data)["X"]
    print("| on | network | rows | encode, rows/s | GB | predict | copy | ratio |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        networks = {name: f"{folder}/{name}/encoder.keras" for name in names}
        for name, url in networks.items():
            save_network(name, rows[:N_PROTOTYPES], url)
        for kind, opened in (("disk", nullcontext(folder)), ("S3", bucket())):
            with opened as place:
                for n_rows in sizes:
                    compare_at(kind, urls.join(place, str(n_rows)), rows, n_rows, networks)


def compare_at(kind: str, place: str, rows: NDArray[Any], n_rows: int, networks: dict[str, str]) -> None:
    """The lines of one size at one place."""
    source, target = urls.join(place, "rows"), urls.join(place, "target")
    write_rows(source, rows, n_rows)
    copied = measure("copy", source, "", target)
    for name, network in networks.items():
        found = {contender: measure(contender, source, network, target) for contender in ("encode", "predict")}
        speeds = {contender: n_rows / each["seconds"] for contender, each in (found | {"copy": copied}).items()}
        ratio = speeds["encode"] / min(speeds["predict"], speeds["copy"])
        shown = f"{speeds['encode']:.0f} | {found['encode']['peak'] / 2**30:.2f}"
        print(
            f"| {kind} | {name} | {n_rows} | {shown} | {speeds['predict']:.0f} | {speeds['copy']:.0f} | {ratio:.2f} |",
            flush=True,
        )
    urls.remove_tree(place)


def write_rows(url: str, rows: NDArray[Any], n_rows: int) -> None:
    """An array of `n_rows`, the given ones over and over."""
    array = arrays.create_array(url, shape=(n_rows, *rows.shape[1:]), dtype=np.float32)
    for start, stop in arrays.row_blocks(n_rows, chunk_objects.object_rows(array)):
        array[start:stop] = rows[np.arange(start, stop) % len(rows)]


def save_network(name: str, rows: NDArray[Any], url: str) -> None:
    """A network as the training would make it, untrained."""
    from pumascale.tasks.parameters import TrainingParameters
    from pumascale.tasks.training import artefact, networks, prototypes

    if name == "mlp":
        encoder = networks.mlp_encoder(rows.shape[1:], N_COMPONENTS, TrainingParameters().hidden_units)
    else:
        encoder = prototypes.prototype_encoder(rows.shape[1:], N_COMPONENTS, len(rows), "euclidean", 1.0)
        encoder.get_layer("prototypes").set_keys(np.asarray(rows, np.float32))
        encoder.get_layer("prototypes").set_values(np.random.default_rng(0).normal(size=(len(rows), N_COMPONENTS)))
    artefact.save_network(url, encoder)
    artefact.save_json(url.replace("encoder.keras", "model.json"), {"modules": artefact.MODULES})


@contextmanager
def bucket() -> Iterator[str]:
    """A bucket on a server that lives as long."""
    import boto3

    from tests.s3 import server
    from tests.s3.fixtures import changed_environment

    with server.running() as endpoint, changed_environment(server.environment(endpoint)):
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="transforms")
        yield "s3://transforms"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--n-rows", default="100000,400000")
    parser.add_argument("--networks", default="mlp,prototypes")
    for name in ("contender", "network", "target"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        from pumascale.tasks.compute.memory import peak_memory

        seconds = CONTENDERS[asked.contender](asked.data, asked.network, asked.target)
        print(json.dumps({"seconds": seconds, "peak": peak_memory()}))
    else:
        compare(Path(asked.data), [int(size) for size in asked.n_rows.split(",")], asked.networks.split(","))


if __name__ == "__main__":
    main()
