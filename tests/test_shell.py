"""The command line as its users meet it: in a process of its own."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import psutil
import pytest
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
    (tmp_path / "digits" / "rows" / "c.0.0").unlink()
    assert write_digits(str(tmp_path)) == (rows, labels)
    assert np.asarray(arrays.open_array(rows)[:]).any(axis=1).all()
    written = (tmp_path / "digits" / "rows" / "zarr.json").stat().st_mtime_ns
    assert write_digits(str(tmp_path)) == (rows, labels)
    assert (tmp_path / "digits" / "rows" / "zarr.json").stat().st_mtime_ns == written


@pytest.mark.long
def test_fit_prints_a_models_url_finds_it_again_and_makes_another_by_force(tmp_path: Path) -> None:
    source = tmp_path / "store.zarr" / "deep" / "rows"  # an array inside a group
    zarr.open_group(tmp_path / "store.zarr", mode="w").create_group("deep")
    arrays.write_whole(str(source), np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    quick = ["graph.n_neighbors=5", "training.encoder=mlp", "training.n_epochs=2"]
    words = ["fit", source.as_uri(), "--workspace", (tmp_path / "work").as_uri(), *(f"--set={one}" for one in quick)]
    first, again, forced = (shell(*words, *more, cwd=tmp_path) for more in ([], [], ["--force"]))
    assert [done.returncode for done in (first, again, forced)] == [0, 0, 0], first.stderr
    model, manifest = first.stdout.splitlines()
    assert json.loads(manifest)["model"] == model
    assert model.startswith(str(tmp_path / "work" / "models"))
    assert again.stdout.splitlines()[0] == model
    assert json.loads(again.stdout.splitlines()[1])["cached"] == ["build_graph", "train_encoder"]
    assert re.search(f"already there: {model}$", again.stderr, re.MULTILINE)
    other, manifest = forced.stdout.splitlines()
    assert other != model
    assert json.loads(manifest)["cached"] == []


SWALLOWS = """
import subprocess
from pumascale.flows import interrupt

interrupt.PATIENCE_SECONDS = 0.5
interrupt.listen()
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
while True:
    try:
        print(child.pid, flush=True)
        input()
    except BaseException:
        pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_also_what_swallows_them(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SWALLOWS], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as run:
        assert run.stdout is not None
        child = psutil.Process(int(run.stdout.readline()))
        run.send_signal(number)
        assert run.wait(timeout=30) == 128 + number
    assert child not in psutil.process_iter() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("send", [os.killpg, pytest.param(os.kill, marks=pytest.mark.long)])
def test_ctrl_c_ends_a_run_with_all_its_processes(tmp_path: Path, send: Callable[[int, int], None]) -> None:
    rows, _ = write_digits(str(tmp_path))
    # Deaf to the signal from its start, as in the background of a script.
    deaf = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", PUMASCALE, "fit-transform", rows, "--workspace", "here"]
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment(tmp_path), "start_new_session": True}
    with subprocess.Popen(deaf, stdout=PIPE, stderr=PIPE, text=True, **options) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        next(line for line in run.stderr if "neighbours" in line)
        send(run.pid, signal.SIGINT)
        said = run.stderr.read().splitlines()
        assert (run.wait(), run.stdout.read()) == (130, "")
    assert re.fullmatch("pumascale: Stopped.* the same command goes on from there.", said[-1])
    _, left = psutil.wait_procs([one for one in psutil.process_iter() if session(one) == run.pid], timeout=5)
    assert left == []
    assert list(tmp_path.glob("here/graphs/*/receipts/neighbours*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_sigterm_saves_a_layout_and_neither_it_nor_a_kill_leaves_a_server(
    tmp_path: Path, number: signal.Signals
) -> None:
    rows, _ = write_digits(str(tmp_path))
    words = [PUMASCALE, "fit", rows, "--workspace", "here", "--set", "training.n_epochs=5000"]
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment(tmp_path), "start_new_session": True}
    with subprocess.Popen(words, stdout=PIPE, stderr=PIPE, text=True, **options) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        next(line for line in run.stderr if "layout" in line)
        run.send_signal(number)
        said, _ = run.stderr.read().splitlines(), run.wait()
    assert run.returncode == (143 if number == signal.SIGTERM else -number)
    _, left = psutil.wait_procs([one for one in psutil.process_iter() if session(one) == run.pid], timeout=10)
    assert left == []
    if number == signal.SIGTERM:
        assert re.fullmatch("pumascale: Stopped.* the same command goes on from there.", said[-1])
        assert list(tmp_path.glob("here/models/*/checkpoints/layout.npz"))


def session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return -1


def test_a_prefect_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    rows, _ = write_digits(str(tmp_path))
    there = environment(tmp_path) | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    words = [PUMASCALE, "fit", rows, "--workspace", "here"]
    done = subprocess.run(words, cwd=tmp_path, env=there, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    assert "server at PREFECT_API_URL=http://127.0.0.1:9/api does not answer (ConnectError" in done.stderr


def test_a_module_in_the_folder_of_the_command_is_found(tmp_path: Path) -> None:
    rows, _ = write_digits(str(tmp_path))
    (tmp_path / "my_network.py").write_text("def build(row_shape, n_components):\n    return row_shape\n")
    done = shell("fit", rows, "--workspace", "w", "--set", "training.encoder=my_network:build", cwd=tmp_path)
    assert "pumascale: training.encoder='my_network:build' returned a tuple. Expected a keras.Model." in done.stderr


def test_bad_input_ends_with_one_line_and_a_code(tmp_path: Path) -> None:
    """The other refusals: test_refusals.py."""
    done = shell("fit-transform", "nowhere", "--workspace", "w", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pumascale: No Zarr array at")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []  # no workspace, and no server's home
