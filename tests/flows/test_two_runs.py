"""The same command twice at the same time, in processes of their own: one result, and both end well."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from prefect.settings import PREFECT_API_URL
from sklearn.datasets import load_digits

from pumascale.tasks.storage import disk, targets
from tests.flows.conftest import write_digits

SHELL = [sys.executable, "-m", "pumascale.flows.shell"]
SMALL = ("graph.n_neighbors=10", "graph.recall_sample=50", "graph.n_partitions=3", "training.encoder=mlp")
SMALL_MLP = ("training.n_epochs=20", "training.loss_report_frequency=2", "training.hidden_units=[32]")
SETTINGS = [f"--set={setting}" for setting in (*SMALL, *SMALL_MLP, "compute.n_workers=1")]


def run(n_times: int, *words: str) -> list[tuple[dict[str, Any], str]]:
    """Run the command so often at once: the manifest and the progress of each."""
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    runs = [subprocess.Popen([*SHELL, *words], **pipes) for _ in range(n_times)]
    ended = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0] * n_times, ended
    return [(json.loads(printed.splitlines()[-1]), progress) for printed, progress in ended]


@pytest.mark.long
def test_two_runs_or_updates_of_one_request_have_one_result(tmp_path: Path) -> None:
    source, _ = write_digits(str(tmp_path / "data"))
    target, workspace = str(tmp_path / "map"), str(tmp_path / "work")
    both = run(2, "fit-transform", source, "--workspace", workspace, "--target", target, *SETTINGS)
    check(both, target, 1, 500)
    assert sum(len(manifest["cached"]) for manifest, _ in both) == 3  # each stage was done once
    assert any("waiting for it" in progress for _, progress in both)

    zarr.open_array(source, mode="r+").append(load_digits().data[500:600].astype(np.float32))
    updates = run(2, "update", source, "--model", both[0][0]["model"], "--target", target)
    check(updates, target, 2, 600)
    assert sum(len(manifest["cached"]) for manifest, _ in updates) == 1


def check(both: list[tuple[dict[str, Any], str]], target: str, version: int, n_rows: int) -> None:
    """One place and one version, whole, and nothing unfinished beside it."""
    (one, _), (other, _) = both
    assert (one["embedding"], one["version"]) == (other["embedding"], other["version"])
    assert (one["embedding"], version) == ((targets.newest(target) or {})["embedding"], one["version"])
    points = np.asarray(zarr.open_array(f"{one['embedding']}/embedding", mode="r")[:])
    assert (points.shape, bool(np.isfinite(points).all())) == ((n_rows, 2), True)
    paths = list(Path(one["embedding"]).parents[1].rglob("*"))
    unfinished = {"scratch", "checkpoints", "lease.json"}
    assert [path for path in paths if path.name in unfinished or disk.is_part(path.name)] == []
