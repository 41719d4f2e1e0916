"""Every flow served from one machine: all are on the server, they run, and `split` asks for those beside it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.deployments.runs import completed, find, read, request, start, wait, wait_until
from tests.deployments.server import Server

FLOWS = "fit-transform", "fit", "transform", "update", "inverse-transform", "export", "export-model", "graph", "split"


@contextmanager
def serving(environment: dict[str, str], folder: Path, *words: str) -> Iterator[Path]:
    """A command that serves, in a process of its own: what it says. At the exit all that it started must end."""
    command = [sys.executable, "-m", *words]
    with (folder / "worker.log").open("wb") as log:
        started = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield folder / "worker.log"
    finally:
        family = psutil.Process(started.pid).children(recursive=True)
        started.terminate()
        started.wait(timeout=60)
        assert not psutil.wait_procs(family, timeout=30)[1]


def served(server: Server) -> dict[str, dict[str, Any]]:
    """The served deployments, by flow."""
    found = server.ask("POST", "deployments/filter", {}).json()  # first: a deployment's flow is made before it
    flows = {flow["id"]: flow["name"] for flow in server.ask("POST", "flows/filter", {}).json()}
    return {flows[one["flow_id"]]: one for one in found if one["name"] == "here" and one["entrypoint"]}


def said(log: Path) -> str | None:
    found = re.search(r"The Prefect UI: (\S+)\n", log.read_text())
    return found and found[1]


@pytest.mark.long
def test_without_a_server_one_is_started_whose_ui_is_where_it_says_and_runs_work(tmp_path: Path) -> None:
    alone = Server(tmp_path)
    environment = alone.environment | {"PREFECT_SERVER_API_PORT": str(alone.port)}
    del environment["PREFECT_API_URL"]
    with serving(environment, tmp_path, "pumascale.flows.shell", "serve") as log:
        wait_until(lambda: said(log), 120, "no address was said")
        assert said(log) == alone.ui
        assert "<html" in httpx.get(alone.ui, follow_redirects=True, timeout=30).text
        wait_until(lambda: "split" in served(alone), 120, "split is not served")
        runs = [start(alone, find(alone, "fit-transform", "here"), request(str(tmp_path))).json()["id"]]
        wait_until(lambda: read(alone, runs[0])["state_type"] == "RUNNING", 120, "the run did not start", alone)
        runs += [start(alone, find(alone, "fit-transform", "here"), request(str(tmp_path))).json()["id"]]
        assert wait(alone, runs[1])["state_name"] == "Cancelled"
        assert set(completed(alone, runs[0]).values()) == {"Completed"}


def test_a_port_that_another_program_has_is_said(tmp_path: Path) -> None:
    other = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # answers nothing that is asked
    environment = Server(tmp_path).environment | {"PREFECT_SERVER_API_PORT": str(other.server_port)}
    del environment["PREFECT_API_URL"]
    command = [sys.executable, "-m", "pumascale.flows.shell", "serve"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.fullmatch(r"pumascale: no Prefect server could be started on port \d+\. .*\n", done.stderr)


def test_the_stages_of_split_are_served_beside_it(server: Server, tmp_path: Path) -> None:
    with serving(server.environment, tmp_path, "pumascale.flows.serve") as log:
        wait_until(lambda: "split" in served(server), 120, "split is not served")
    assert said(log) == server.ui
    assert set(served(server)) == set(FLOWS)
    stages = served(server)["split"]["parameters"]
    assert stages == {f"{stage}_deployment": f"{stage}/here" for stage in ("graph", "fit", "transform")}
