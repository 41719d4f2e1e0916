"""The command line as its users meet it: in a process of its own."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr

from pumascale.tasks.demo_source import write_digits
from pumascale.tasks.storage import arrays

PUMASCALE = Path(sys.executable).with_name("pumascale")


def shell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [PUMASCALE, *words]
    return subprocess.run(command, cwd=cwd, env=environment(cwd), capture_output=True, text=True, timeout=300)


def environment(cwd: Path) -> dict[str, str]:
    """A Prefect home of its own, no server that is there already, and nothing that says that no user looks on."""
    home = str(cwd / "prefect")
    gone = {"PREFECT_API_URL", "DO_NOT_TRACK", "CI", "GITHUB_ACTIONS", "GITLAB_CI"}
    return {name: value for name, value in os.environ.items() if name not in gone} | {"PREFECT_HOME": home}


def test_at_a_terminal_prefect_says_nothing_of_telemetry(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    script = [sys.executable, "-c", "import pumascale.flows.shell, prefect; print('done')"]
    subprocess.run(script, env=environment(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    assert os.read(ours, 10_000).split() == [b"done"]


def test_the_demo_makes_a_map_and_says_where_it_is(tmp_path: Path) -> None:
    done = shell("demo", "--workspace", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *named, last = done.stdout.splitlines()
    manifest = json.loads(last)
    for line in named:
        assert Path(line.split(maxsplit=1)[1]).exists(), line
    assert [line.split()[0] for line in named] == ["embedding", "map.png", "report.html", "loss.png"]
    points = np.asarray(zarr.open_array(Path(manifest["embedding"]) / "embedding", mode="r")[:])
    assert points.shape == (1797, 2)
    assert manifest["quality"]["trained"]["trustworthiness"] > 0.95
    assert manifest["quality"]["held_out"]["label_accuracy"] > 0.9
    # Our own progress and nobody else's: each line is a time and a stage.
    first, *lines = done.stderr.splitlines()
    assert first.endswith("  starting")
    assert all(line[2] == ":" and "_" in line for line in lines), done.stderr


def test_a_demo_that_was_killed_while_it_wrote_its_data_writes_them_again(tmp_path: Path) -> None:
    rows, labels = write_digits(str(tmp_path))
    (tmp_path / "digits" / "manifest.json").unlink()
    (tmp_path / "digits" / "rows" / "c" / "0" / "0").unlink()
    assert write_digits(str(tmp_path)) == (rows, labels)
    assert np.asarray(arrays.open_array(rows)[:]).any(axis=1).all()
    written = (tmp_path / "digits" / "rows" / "zarr.json").stat().st_mtime_ns
    assert write_digits(str(tmp_path)) == (rows, labels)
    assert (tmp_path / "digits" / "rows" / "zarr.json").stat().st_mtime_ns == written


def test_bad_input_ends_with_one_line_and_a_code(tmp_path: Path) -> None:
    """The other refusals: test_refusals.py."""
    done = shell("fit-transform", "nowhere", "--workspace", "w", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pumascale: No Zarr array at")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []  # no workspace, and no server's home
