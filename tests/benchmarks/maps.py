"""The maps side by side: pumascale against umap-learn, same data, same held-out rows, same machine, one run.

    uv run python tests/benchmarks/maps.py DATA.npz [--peers umap,parametric-umap] [--set training.encoder=mlp]

DATA.npz holds X (n, d) and y (n,) integer labels. Each contender runs in a process of its own, cold: seconds and peak
memory are the process's, imports and compilation included. Quality is measured on 2,000 sampled rows of each kind,
neighbours among the trained rows. Prints a table in Markdown.

What was tried for the default encoder on debian-packages (63,666 x 384, 10 % held out), held-out recall at 15,
trustworthiness, label accuracy; UMAP's own transform reached .229 / .921 / .575. By a research script, 3,000 rows, one
split, and the choice was made by these very figures; on a split that nothing was chosen by, the default's recipe gave
.278 / .944 / .603. Some lines differ from the one above them in more than what they name (steps, bandwidth):

====================================================  ==================
attention to 8,192 random rows, mean of their places  .119 / .792 / .478
mean shift from the mean, bandwidth 0.3               .240 / .925 / .587
mode, then one mean-shift step, softmax weights       .255 / .939 / .588
mode, UMAP's smooth-kNN weights                       .219 / .940 / .590
mode, weights by relative squared distance (c = 4)    .274 / .938 / .587
the same, prototypes by density                       .258 / .937 / .591
the same, k-means centroids for keys                  .307 / .945 / .587
the same, k-medoids (3 Lloyd steps), c = 3: default   .289 / .940 / .587
bandwidth 0.1 (rows clump on prototypes: refused)     .339 / .950 / .602
bandwidth 1                                           .237 / .907 / .563
places trained further by the objective, rate 0.1     .244 / .930 / .590
the same, each row's own prototype left out           .238 / .926 / .586
places from UMAP of the prototypes alone              .247 / .936 / .600
1,024 / 2,048 / 4,096 / 16,384 prototypes, recall     .136 .185 .239 .299
====================================================  ==================
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.quality.measure import measure
from pumascale.tasks.storage import arrays

FIGURES = ("neighbor_recall", "trustworthiness", "label_accuracy")


def write(url: str, values: NDArray[Any]) -> str:
    """Write an array as Zarr."""
    arrays.create_array(url, shape=values.shape, dtype=values.dtype)[:] = values
    return url


def pumascale(folder: Path, settings: list[str]) -> None:
    """Graph, encoder and map of all rows; the encoder sees only the trained ones."""
    words = [part for setting in settings for part in ("--set", setting)]
    command = ["fit-transform", str(folder / "rows"), "--workspace", str(folder / "work"), *words]
    done = subprocess.run(
        [sys.executable, "-m", "pumascale.flows.shell", *command], check=True, stdout=subprocess.PIPE, text=True
    )
    manifest = json.loads(done.stdout.splitlines()[-1])
    np.save(folder / "held_out.npy", np.load(Path(manifest["model"]) / "held_out.npy"))
    (folder / "pumascale.json").write_text(json.dumps(manifest))
    write(str(folder / "pumascale"), np.asarray(arrays.open_array(f"{manifest['embedding']}/embedding")[:]))


def peer(folder: Path, name: str) -> None:
    """umap-learn: fit on the trained rows, transform the held-out ones."""
    rows = np.asarray(arrays.open_array(str(folder / "rows"))[:], np.float32)
    held_out = np.load(folder / "held_out.npy")
    trained = np.setdiff1d(np.arange(len(rows)), held_out)
    mapper = _mapper(name)
    points = np.empty((len(rows), 2), np.float32)
    points[trained] = mapper.fit_transform(rows[trained])
    points[held_out] = mapper.transform(rows[held_out])
    write(str(folder / name), points)


def _mapper(name: str) -> Any:
    if name == "umap":
        from umap import UMAP

        return UMAP()
    from umap.parametric_umap import ParametricUMAP

    return ParametricUMAP()


def compare(data: Path, peers: list[str], settings: list[str]) -> None:
    """Run everybody and print the table."""
    content = np.load(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(str(folder / "rows"), content["X"])
        write(str(folder / "labels"), content["y"].astype(np.int64))
        print("| map | trained: recall, trust, label | held-out: recall, trust, label | seconds | peak GB |")
        print("|---|---|---|---|---|")
        for contender in ["pumascale", *peers]:
            run(folder, contender, settings)


def run(folder: Path, contender: str, settings: list[str]) -> None:
    """One contender in a process of its own, and its line of the table."""
    started = time.perf_counter()
    command = [sys.executable, __file__, str(folder), "--contender", contender, *(f"--set={one}" for one in settings)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{contender} failed with status {status}")
    held_out = np.load(folder / "held_out.npy")
    quality = measure(str(folder / "rows"), str(folder / contender), held_out=held_out, labels=str(folder / "labels"))
    shown = [" / ".join(f"{quality[kind][name]:.3f}" for name in FIGURES) for kind in ("trained", "held_out")]
    # ru_maxrss, in KB: of the contender or of the largest process that it waited for.
    peak = usage.ru_maxrss / 2**20
    print(f"| {contender} | {shown[0]} | {shown[1]} | {seconds:.0f} | {peak:.1f} |", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", default="umap,parametric-umap")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender == "pumascale":
        pumascale(asked.data, asked.settings)
    elif asked.contender:
        peer(asked.data, asked.contender)
    else:
        compare(asked.data, [name for name in asked.peers.split(",") if name], asked.settings)


if __name__ == "__main__":
    main()
