"""Runs of the deployments by API: what to ask for, starting, watching."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from sklearn.datasets import load_digits

from pumascale.tasks.storage import arrays, urls
from tests.deployments.server import Server

SMALL = {"encoder": "mlp", "n_epochs": 20, "loss_report_frequency": 2, "hidden_units": [32]}
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def request(place: str, **training: Any) -> dict[str, Any]:
    """Parameters of a small run of fit-transform whose rows and workspace are below `place`, which may have them."""
    rows, source = load_digits().data[:300].astype(np.float32), urls.join(place, "rows")
    if not urls.list_objects(source):
        arrays.create_array(source, shape=rows.shape, dtype=rows.dtype)[:] = rows
    groups = {"graph": {"n_neighbors": 8, "recall_sample": 50}, "compute": {"n_workers": 1}}
    return {"source": source, "workspace": urls.join(place, "work"), "training": SMALL | training, **groups}


def find(server: Server, flow: str, name: str = "pumascale") -> dict[str, Any]:
    """The deployment of a flow."""
    found = server.ask("GET", f"deployments/name/{flow}/{name}")
    assert found.status_code == 200, found.text
    return dict(found.json())


def start(server: Server, deployment: dict[str, Any], parameters: dict[str, Any]) -> httpx.Response:
    """Ask for a run, now."""
    wanted = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    return server.ask("POST", f"deployments/{deployment['id']}/create_flow_run", wanted)


def started(server: Server, parameters: dict[str, Any]) -> str:
    """The id of a new run of fit-transform."""
    asked = start(server, find(server, "fit-transform"), parameters)
    assert asked.status_code == 201, asked.text
    return str(asked.json()["id"])


def read(server: Server, run: str) -> dict[str, Any]:
    """A run, as the API has it."""
    return dict(server.ask("GET", f"flow_runs/{run}").json())


def wait(server: Server, run: str, seconds: float = 400) -> dict[str, Any]:
    """The run, when it has ended."""
    wait_until(lambda: read(server, run)["state_type"] in ENDED, seconds, f"{run} did not end", server)
    return read(server, run)


def completed(server: Server, run: str) -> dict[str, str]:
    """The run must end well: the name of the state of each of its tasks, such as Completed or Cached."""
    ended = wait(server, run)
    assert ended["state_type"] == "COMPLETED", f"{ended['state']['message']}\n{server.log('worker')[-3000:]}"
    return stages(server, run)


def stages(server: Server, run: str) -> dict[str, str]:
    """The state's name of every task of a run."""
    found = server.ask("POST", "task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}}).json()
    return {task["name"].rsplit("-", 1)[0]: task["state_name"] for task in found}


def artifacts(server: Server, run: str) -> list[dict[str, Any]]:
    """Every artifact of a run."""
    asked = {"flow_runs": {"id": {"any_": [run]}}}
    return list(server.ask("POST", "artifacts/filter", asked).json())


def logs(server: Server, run: str) -> list[dict[str, Any]]:
    """The first 200 lines of a run's log."""
    asked = {"logs": {"flow_run_id": {"any_": [run]}}}
    return list(server.ask("POST", "logs/filter", asked).json())


def wait_until(condition: Callable[[], Any], seconds: float, complaint: str, server: Server | None = None) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} within {seconds} s\n{server.log('worker')[-3000:] if server else ''}")
        time.sleep(0.5)


def processes(run: str) -> list[psutil.Process]:
    """Every process that was started for the run, Dask's and its resource trackers included."""
    found = []
    for process in psutil.process_iter():
        try:
            if run in process.environ().get("PREFECT__FLOW_RUN_ID", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def end_all(server: Server) -> None:
    """End every run that goes on, and those that nobody has taken yet; what a schedule has planned stays."""
    active = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}}}}
    for run in server.ask("POST", "flow_runs/filter", active).json():
        if run["auto_scheduled"] and run["state_type"] == "SCHEDULED":
            continue
        server.ask("POST", f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}})
        kill_processes(run["id"])


def kill_processes(run: str) -> None:
    """End every process of the run, as the system does where memory is short."""
    for process in processes(run):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def made(bucket: str, kind: str) -> str:
    """URL of the one graph, model or embedding of the bucket."""
    folder = urls.join(bucket, "work", kind)
    (name,) = {name.split("/")[0] for name in urls.list_objects(folder)}
    return urls.join(folder, name)


def only(folder: Path, pattern: str) -> Path:
    """The one path that fits."""
    found = list(folder.glob(pattern))
    assert len(found) == 1, found
    return found[0]
