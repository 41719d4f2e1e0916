"""The built wheel, installed into a fresh environment, works from outside the repository."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import pumascale.tasks.build_graph, pumascale.flows.fit_transform, numpy
from pumascale.tasks.storage import arrays
from pumascale.tasks.graph import pipeline
from pumascale.tasks.parameters import GraphParameters
rows = numpy.random.default_rng(0).normal(size=(60, 5)).astype("float32")
arrays.create_array("rows", shape=rows.shape, dtype=rows.dtype)[:] = rows
print(pipeline.build("rows", "graph", GraphParameters(n_neighbors=5), run=map)["n_rows"], pipeline.__file__)
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
    run = [str(tmp_path / "fresh" / "bin" / "python"), "-c", SCRIPT]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("60 ")
    assert str(tmp_path) in done.stdout
    helped = subprocess.run([tmp_path / "fresh/bin/pumascale", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "fit-transform" in helped.stdout
