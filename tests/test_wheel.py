"""The built wheel, installed into a fresh environment, works from outside the repository, in another team's flow."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PREFECT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
SCRIPT = """
import numpy
from prefect import flow

from pumascale.tasks import build_graph as door
from pumascale.tasks.build_graph import build_graph
from pumascale.tasks.parameters import ComputeParameters, GraphParameters, TrainingParameters
from pumascale.tasks.storage import arrays
from pumascale.tasks.train_encoder import train_encoder
from pumascale.tasks.write_embedding import write_embedding


@flow
def ours(source: str, workspace: str) -> str:
    graph = build_graph(source, workspace, GraphParameters(n_neighbors=5), ComputeParameters(n_workers=1))
    model = train_encoder(source, graph.url, workspace, TrainingParameters(n_epochs=20))
    return write_embedding(source, model.url, workspace).url


if __name__ == "__main__":
    rows = numpy.random.default_rng(0).normal(size=(60, 5)).astype("float32")
    arrays.create_array("rows", shape=rows.shape, dtype=rows.dtype)[:] = rows
    print(ours("rows", "work"), door.__file__)
"""


def uv(*words: str, cwd: Path) -> str:
    done = subprocess.run(["uv", *words], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_the_wheel_runs_from_a_fresh_environment(tmp_path: Path) -> None:
    uv("build", "--wheel", "--out-dir", str(tmp_path), cwd=ROOT)
    uv("export", "-q", "--frozen", "--no-dev", "--no-emit-project", "-o", str(tmp_path / "locked.txt"), cwd=ROOT)
    uv("venv", "-q", "fresh", cwd=tmp_path)
    wheel = next(tmp_path.glob("*.whl"))
    uv("pip", "install", "-q", "--python", "fresh", "-r", "locked.txt", str(wheel), cwd=tmp_path)
    (tmp_path / "ours.py").write_text(SCRIPT)
    run = [tmp_path / "fresh/bin/python", "ours.py"]
    environment = os.environ | PREFECT | {"PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    embedding, module = done.stdout.split()
    assert (Path(embedding) / "report.html").stat().st_size > 0
    assert module.startswith(str(tmp_path / "fresh"))
    helped = subprocess.run([tmp_path / "fresh/bin/pumascale", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "fit-transform" in helped.stdout
