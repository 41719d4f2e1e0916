"""Build the same graph with build_graph's room and with one NNDescent over the whole array, side by side.

    uv run python tests/benchmarks/graphs.py DATA.npz                       # its X: 63,666 x 384
    uv run python tests/benchmarks/graphs.py --rows 100000,300000,1000000   # 2,000 normals in 64 dimensions

Every contender is a process of its own, warmed up on a small array first, so that nobody's compilation is timed. Recall
is measured by the same code on the same rows. Memory is the peak of the largest process that finds neighbours: a Dask
worker here, the whole program there. `union` is what comes after the neighbours: memberships and the fuzzy union, there
`umap.umap_.fuzzy_simplicial_set` on the neighbours found.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import open_client, worker_memory, workers_per_host
from pumascale.tasks.graph import knn, pipeline
from pumascale.tasks.graph.plan import SMALL_PARTITION, enough_partitions
from pumascale.tasks.graph.recall import draw_sample, recall_per_row
from pumascale.tasks.parameters import ComputeParameters, GraphParameters
from pumascale.tasks.storage import arrays

N_NEIGHBORS = 15
UNION_STEPS = ("memberships", "edges", "isolated")
Figures = dict[str, Any]


def write_mixture(url: str, n_rows: int) -> None:
    """A mixture of 2,000 normals of unequal size, float32 (n_rows, 64), block by block."""
    generator = np.random.default_rng(0)
    centers, shares = generator.normal(scale=1.5, size=(2000, 64)), generator.dirichlet(np.ones(2000))
    array = arrays.create_array(url, shape=(n_rows, 64), dtype=np.float32)
    step = (array.shards or array.chunks)[0]
    for start, stop in arrays.row_blocks(n_rows, step):
        kinds = generator.choice(2000, stop - start, p=shares)
        array[start:stop] = centers[kinds] + generator.normal(size=(stop - start, 64))


def peak_gb() -> float:
    """Highest resident memory of this process so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def ours(folder: Path, n_partitions: int, overlap: int, n_workers: int) -> Figures:
    """The room on Dask worker processes."""
    asked = GraphParameters(n_neighbors=N_NEIGHBORS, n_partitions=n_partitions, overlap=overlap)
    small = GraphParameters(n_neighbors=N_NEIGHBORS, n_partitions=8, target_recall=1.0, repair_passes=1)
    with open_client(ComputeParameters(n_workers=n_workers)) as client:
        run = partial(bounded_map, client)
        for at in range(n_workers):  # twice the partitions that workers have hands: each of them gets some
            pipeline.build(str(folder / "small"), str(folder / f"warm-{n_workers}-{at}"), small, run=run)
        started = time.perf_counter()
        place = str(folder / f"graph-{n_workers}")
        manifest = pipeline.build(
            str(folder / "rows"), place, asked, run=run, worker_memory=worker_memory(client),
            n_workers=workers_per_host(client),
        )  # fmt: skip
        seconds = time.perf_counter() - started
        peak = max(client.run(peak_gb).values())
    steps = manifest["seconds_per_step"]
    indices, distances = (np.asarray(arrays.open_array(f"{place}/{name}")[:]) for name in ("knn_indices", "knn_dists"))
    print(json.dumps(steps), "passes", manifest["knn_recall_by_pass"], file=sys.stderr)
    union = sum(steps.get(step, 0.0) for step in UNION_STEPS)
    return found(folder, indices, distances) | {"knn": seconds - union, "union": union, "peak": peak}


def theirs(folder: Path) -> Figures:
    """One NNDescent with the room's own settings, then umap-learn's union."""
    from umap.umap_ import fuzzy_simplicial_set

    neighbors = partial(
        knn.searched_neighbors, n_neighbors=N_NEIGHBORS, metric="euclidean", metric_kwds={}, angular_rp_forest=False,
        random_state=42,
    )  # fmt: skip
    small = np.asarray(arrays.open_array(str(folder / "small"))[:], np.float32)
    union = partial(fuzzy_simplicial_set, n_neighbors=N_NEIGHBORS, random_state=None, metric="euclidean")
    warm = neighbors(small)
    union(small, knn_indices=warm[0], knn_dists=warm[1])
    started = time.perf_counter()
    rows = np.asarray(arrays.open_array(str(folder / "rows"))[:], np.float32)
    indices, distances = neighbors(rows)
    between = time.perf_counter()
    peak = peak_gb()
    union(rows, knn_indices=indices, knn_dists=distances)
    ended = time.perf_counter()
    return found(folder, indices, distances) | {"knn": between - started, "union": ended - between, "peak": peak}


def found(folder: Path, indices: NDArray[Any], distances: NDArray[np.float32]) -> Figures:
    """Recall of 1,000 sampled rows."""
    sample = draw_sample(len(indices), 1000, 1)
    exact = exact_neighbors(folder, sample)
    return {"recall": float(recall_per_row(exact, indices[sample].astype(np.int64), distances[sample]).mean())}


def exact_neighbors(folder: Path, sample: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Exact neighbours of the sampled rows, without themselves, computed once."""
    kept = folder / "exact.npz"
    if not kept.exists():
        rows = np.asarray(arrays.open_array(str(folder / "rows"))[:], np.float32)
        ids, distances = knn.exact_neighbors(rows[sample], rows, sample, N_NEIGHBORS, "euclidean", {})
        np.savez(kept, ids=ids[:, 1:].astype(np.int64), distances=distances[:, 1:])
    content = np.load(kept)
    return content["ids"], content["distances"]


CONTENDERS = {"one NNDescent": "theirs", "pumascale, 1 worker": "ours-1", "pumascale, 2 workers": "ours-2"}


def run(folder: Path, contender: str, n_partitions: int, overlap: int, n_cores: int) -> Figures:
    """One contender in a process of its own, on some of the cores."""
    command = [sys.executable, __file__, str(folder), "--contender", contender, "--partitions", str(n_partitions)]
    command += ["--overlap", str(overlap)]
    cores = sorted(os.sched_getaffinity(0))[:n_cores]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(name: str, n_rows: int, mine: Figures, first: Figures) -> str:
    """A line of the table, with ratios to the first contender."""
    seconds, union, peak = (f"{mine[key]:.1f} (x{mine[key] / first[key]:.2f})" for key in ("knn", "union", "peak"))
    return f"| {name} | {n_rows:,} | {mine['recall']:.3f} | {seconds} | {union} | {peak} |"


def compare(data: Path | None, sizes: list[int], asked: int | None, overlap: int) -> None:
    """Run everybody at every size and print the table."""
    n_cores = len(os.sched_getaffinity(0))
    print("| graph | rows | recall | neighbours, s | union, s | peak GB |\n|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = write_rows(folder, data, size)
            n_partitions = asked or max(16, enough_partitions(rows, SMALL_PARTITION, overlap))
            first: Figures = {}
            for label, contender in CONTENDERS.items():
                # All on the same cores, but for the one worker on half of them that two workers are compared with.
                share = n_cores // 2 if contender == "ours-1" else n_cores
                mine = run(folder, contender, n_partitions, overlap, share)
                first = first or mine
                print(line(f"{label}, {share} cores", rows, mine, first), flush=True)


def write_rows(folder: Path, data: Path | None, size: int) -> int:
    """The rows, and a few of them to warm up with; returns their number."""
    if data is None:
        write_mixture(str(folder / "rows"), size)
    else:
        arrays.write_whole(str(folder / "rows"), np.load(data)["X"])
    array = arrays.open_array(str(folder / "rows"))
    arrays.write_whole(str(folder / "small"), np.asarray(array[:40_000]))  # more than are compared exactly
    return int(array.shape[0])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--rows", default="100000,300000,1000000", help="sizes of the mixture")
    parser.add_argument("--partitions", type=int, help="by default as many as the room itself takes, at least 16")
    parser.add_argument("--overlap", type=int, default=GraphParameters().overlap, help="partitions that a row joins")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender == "theirs":
        print(json.dumps(theirs(asked.data)))
    elif asked.contender:
        n_workers = int(asked.contender.removeprefix("ours-"))
        print(json.dumps(ours(asked.data, asked.partitions, asked.overlap, n_workers)))
    else:
        sizes = [0] if asked.data else [int(size) for size in asked.rows.split(",")]
        compare(asked.data, sizes, asked.partitions, asked.overlap)


if __name__ == "__main__":
    main()
