"""Training on an accelerator: the layout's time, steps per second, share of the peak, and how good the maps are.

    KERAS_BACKEND=jax uv run python -m tests.benchmarks.accelerators DATA.npz [--n-rows 1000000] [--n-epochs 10]

DATA.npz has X (n, d) and labels y. The graph is built once, then every network is trained in a process of its own with
a tenth of the rows held out (20,000 at most). The device's peak is what a product of two 8,192 x 8,192 matrices reaches
in the network's dtype; a step's floating-point operations are six per weight and row (two forward, four backward), and
an edge has two rows. `--n-epochs` is that of the networks trained by gradients. Rooms only: no Prefect is needed.

`--n-rows` above n grows the data: a row of X, drawn at random, goes up to half the way towards one of its 15 nearest,
also drawn, and keeps its label. That has the clusters, the width and the labels of X, but between its rows it is a web
of lines: it shows what so many rows cost, and how well a map keeps apart what X has apart; it is not so much real data.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.parameters import GraphParameters, TrainingParameters
from pumascale.tasks.storage import arrays
from tests.benchmarks.streams import build, embed

SIZE, PRODUCTS = 8192, 5  # of the matrices that show the peak
N_TIMED, MIDDLE = 5, 100  # epochs of the layout; the first ones have next to no edges
BOUNDS = ".23 / .925 / .63 | .20 / .905 / .575"  # what a default map of X has to reach
HEAD = "| network | trained rows | held-out rows | training, s | its layout, s | placing, s | steps/s | share of peak |"
FIGURES = ("neighbor_recall", "trustworthiness", "label_accuracy")
WIDE = {"hidden_units": [1024, 1024, 1024], "batch_size": 8192}
NETWORKS: dict[str, dict[str, Any]] = {
    "prototypes": {},
    "mlp, 3 x 100, batch 1,000": {"encoder": "mlp"},
    "mlp, 3 x 1,024, batch 8,192": {"encoder": "mlp", **WIDE},
    "mlp, 3 x 1,024, bfloat16": {"encoder": "mlp", **WIDE, "dtype_policy": "mixed_bfloat16"},
}


def grown(rows: NDArray[Any], labels: NDArray[Any], n_rows: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """`n_rows` rows between near ones of `rows` (n, d), and their labels."""
    from sklearn.neighbors import NearestNeighbors

    rows = rows.astype(np.float32)
    near = NearestNeighbors(n_neighbors=15, algorithm="brute").fit(rows).kneighbors(return_distance=False)
    generator = np.random.default_rng(0)
    first = generator.integers(len(rows), size=n_rows)
    second = near[first, generator.integers(near.shape[1], size=n_rows)]
    way = generator.uniform(0, 0.5, (n_rows, 1)).astype(np.float32)
    return rows[first] + way * (rows[second] - rows[first]), labels[first]


def epochs(folder: str) -> dict[str, float]:
    """Seconds of one of the layout's epochs, by the cores and by the device, if numba sees one."""
    from pumascale.tasks.training import layout
    from pumascale.tasks.training.problem import read_problem
    from pumascale.tasks.training.trained import read_trained

    problem = read_problem(f"{folder}/rows", f"{folder}/graph", TrainingParameters(), math.inf)
    adjacency = read_trained(problem).adjacency
    options = layout.LayoutOptions(1.577, 0.895, 5, 1.0, 1.0, 2 * MIDDLE, 42)
    steps = [layout.step_of(MIDDLE + index, options, adjacency) for index in range(N_TIMED)]
    places = np.random.default_rng(0).normal(0, 5, (adjacency.n_rows, 2)).astype(np.float32)
    powers = layout.table_of_powers(options.b)
    movers = {"cores": lambda places, step: layout.moved_by_cores(places, step, adjacency, powers)}
    if layout.has_cuda():
        movers["device"] = layout.choose_mover(adjacency, powers, places, steps[0])
    return {name: _seconds(move, places, steps) for name, move in movers.items()}


def _seconds(move: Any, places: NDArray[np.float32], steps: list[Any]) -> float:
    move(places, steps[0])
    began = time.perf_counter()
    for step in steps:
        places = move(places, step)
    return (time.perf_counter() - began) / len(steps)


def train(folder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train one network, place all rows and measure: figures of this process."""
    from pumascale.tasks.quality.measure import measure
    from pumascale.tasks.training.artefact import load_encoder
    from pumascale.tasks.training.fit import fit

    reports: list[tuple[float, int]] = []  # when, and how many steps or epochs were done

    def note(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        reports.append((time.perf_counter(), done))

    place, parameters, began = f"{folder}/model", TrainingParameters(**settings), time.perf_counter()
    fit(f"{folder}/rows", f"{folder}/graph", place, parameters, on_progress=note)
    trained = time.perf_counter()
    embed(f"{folder}/rows", place)
    placed = time.perf_counter()
    quality = measure(
        f"{folder}/rows", f"{place}/map", held_out=np.load(f"{place}/held_out.npy"), labels=f"{folder}/labels"
    )
    (first, before), (last, done) = reports[0], reports[-1]  # the first report has the compilation in it
    speed = (done - before) / (last - first)
    widths = [int(np.prod(weight.shape)) for weight in load_encoder(place).weights if len(weight.shape) == 2]
    figures = {"quality": quality, "seconds": trained - began, "placing": placed - trained}
    if parameters.encoder != "mlp":
        return figures | {"layout": done / speed}
    return figures | {"speed": speed, "flops": speed * 6 * 2 * parameters.batch_size * sum(widths)}


def peak(dtype: str) -> dict[str, Any]:
    """The device's name and the floating-point operations per second of a large matrix product."""
    import jax
    from jax import numpy as jnp

    left, right = jax.random.normal(jax.random.key(0), (2, SIZE, SIZE), dtype=jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    product(left, right).block_until_ready()
    began = time.perf_counter()
    for _ in range(PRODUCTS):
        result = product(left, right)
    result.block_until_ready()
    flops = 2 * SIZE**3 * PRODUCTS / (time.perf_counter() - began)
    return {"device": jax.devices()[0].device_kind, "flops": flops}


def alone(function: str, *arguments: Any) -> dict[str, Any]:
    """What one of the functions above returns, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.accelerators", "--alone", function, json.dumps(arguments)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(data: Path, n_rows: int, n_workers: int, n_epochs: int | None, networks: list[str]) -> None:
    """Both tables."""
    with tempfile.TemporaryDirectory() as folder:
        content = np.load(data)
        rows, labels = content["X"], content["y"]
        if n_rows > len(rows):
            rows, labels = grown(rows, labels, n_rows)
        for name, values in (("rows", rows), ("labels", labels)):
            arrays.create_array(f"{folder}/{name}", shape=values.shape, dtype=values.dtype)[:] = values
        began = time.perf_counter()
        graph = build(f"{folder}/rows", f"{folder}/graph", GraphParameters(), n_workers)
        seconds = time.perf_counter() - began  # the start of the workers included
        peaks = {dtype: alone("peak", dtype) for dtype in ("float32", "bfloat16")}
        print(
            f"{peaks['float32']['device']}, {os.cpu_count()} cores: {peaks['float32']['flops'] / 1e12:.1f} TFLOP/s in "
            f"float32, {peaks['bfloat16']['flops'] / 1e12:.1f} in bfloat16; {graph['n_rows']} rows, {graph['n_edges']} "
            f"edges, graph {seconds:.1f} s with {n_workers} workers, recall {graph['knn_recall']:.3f}\n"
        )
        times = [f"{seconds:.4f} s by the {name}" for name, seconds in alone("epochs", folder).items()]
        print(f"An epoch of the layout: {', '.join(times)}\n\n{HEAD}\n{'|---' * 8}|\n| at least | {BOUNDS} {'|' * 6}")
        for name in networks:
            settings = NETWORKS[name]
            epochs = {} if n_epochs is None or name == "prototypes" else {"n_epochs": n_epochs}
            print(row(name, alone("train", folder, settings | epochs), peaks, settings), flush=True)
            shutil.rmtree(f"{folder}/model")


def row(name: str, found: dict[str, Any], peaks: dict[str, Any], settings: dict[str, Any]) -> str:
    """One network's line."""
    kinds = [found["quality"][kind] for kind in ("trained", "held_out")]
    quality = [" / ".join(f"{kind[figure]:.3f}".lstrip("0") for figure in FIGURES) for kind in kinds]
    peak = peaks["bfloat16" if "dtype_policy" in settings else "float32"]["flops"]
    layout = f"{found['layout']:.1f}" if "layout" in found else "-"
    speed = [f"{found['speed']:.0f}", f"{found['flops'] / peak:.3f}"] if "speed" in found else ["-", "-"]
    times = [f"{found['seconds']:.1f}", layout, f"{found['placing']:.1f}"]
    return "| " + " | ".join([name, *quality, *times, *speed]) + " |"


def main() -> None:
    """Read the command line."""
    if sys.argv[1:2] == ["--alone"]:
        print(json.dumps(globals()[sys.argv[2]](*json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--n-rows", type=int, default=0)
    parser.add_argument("--n-epochs", type=int)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--n-workers", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    asked = parser.parse_args()
    compare(asked.data, asked.n_rows, asked.n_workers, asked.n_epochs, asked.networks)


if __name__ == "__main__":
    main()
