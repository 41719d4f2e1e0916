"""The deployed system: a real server, a real worker, deployments from `prefect.yaml`, runs by API."""

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import zarr
from sklearn.datasets import load_digits

from pumascale.tasks.storage import arrays
from tests.deployments.conftest import Server

SMALL = {"encoder": "mlp", "n_epochs": 20, "loss_report_frequency": 2, "hidden_units": [32]}


def find(server: Server, flow: str) -> dict[str, Any]:
    found = httpx.get(f"{server.api}/deployments/name/{flow}/pumascale", timeout=30)
    assert found.status_code == 200, found.text
    return dict(found.json())


def start(server: Server, deployment: dict[str, Any], parameters: dict[str, Any]) -> httpx.Response:
    url = f"{server.api}/deployments/{deployment['id']}/create_flow_run"
    return httpx.post(url, json={"parameters": parameters, "state": {"type": "SCHEDULED"}}, timeout=30)


def wait(server: Server, run: str, seconds: int = 240) -> dict[str, Any]:
    for _ in range(seconds):
        found = dict(httpx.get(f"{server.api}/flow_runs/{run}", timeout=30).json())
        if found["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            return found
        time.sleep(1)
    raise TimeoutError(f"{run} is still {found['state_name']}")


def request(tmp_path: Path) -> dict[str, Any]:
    rows = load_digits().data[:300].astype(np.float32)
    source = str(tmp_path / "rows")
    arrays.create_array(source, shape=rows.shape, dtype=rows.dtype)[:] = rows
    groups = {"graph": {"n_neighbors": 8, "recall_sample": 50}, "training": SMALL, "compute": {"n_workers": 1}}
    return {"source": source, "workspace": str(tmp_path / "work"), **groups}


def test_a_run_by_api_makes_a_map_and_a_second_trigger_does_not_run_twice(server: Server, tmp_path: Path) -> None:
    deployment, parameters = find(server, "fit-transform"), request(tmp_path)
    first = start(server, deployment, parameters).json()["id"]
    for _ in range(120):
        if httpx.get(f"{server.api}/flow_runs/{first}", timeout=30).json()["state_type"] == "RUNNING":
            break
        time.sleep(1)
    second = start(server, deployment, parameters).json()["id"]
    assert wait(server, second)["state_name"] == "Cancelled"
    done = wait(server, first)
    assert done["state_type"] == "COMPLETED", done["state"]["message"]
    embedding = next((tmp_path / "work" / "embeddings").glob("*/embedding"))
    assert np.isfinite(np.asarray(zarr.open_array(embedding, mode="r")[:])).all()
    shown = httpx.post(f"{server.api}/artifacts/filter", json={"flow_runs": {"id": {"any_": [first]}}}, timeout=30)
    kinds = {(artifact["type"], artifact["key"]) for artifact in shown.json()}
    assert {("image", "map"), ("image", "loss"), ("markdown", "quality")} <= kinds


def test_wrong_values_are_refused_before_a_machine_starts(server: Server, tmp_path: Path) -> None:
    parameters = request(tmp_path) | {"graph": {"n_neighbors": 1}}
    refused = start(server, find(server, "fit-transform"), parameters)
    assert refused.status_code == 409
    assert "less than the minimum of 2" in refused.text
    unknown = start(server, find(server, "fit-transform"), request(tmp_path) | {"graph": {"neighbours": 3}})
    assert unknown.status_code == 409


def test_the_form_has_every_parameter_with_help_bounds_and_order(server: Server) -> None:
    schema = find(server, "fit-transform")["parameter_openapi_schema"]
    assert list(schema["properties"]) == [
        "source", "workspace", "target", "labels", "graph", "training", "embedding", "compute", "force",
    ]  # fmt: skip
    groups = schema["definitions"]
    for name in ("GraphParameters", "TrainingParameters", "EmbeddingParameters", "ComputeParameters"):
        fields = groups[name]["properties"]
        assert [field["position"] for field in fields.values()] == list(range(len(fields)))
        assert all(field["description"] for field in fields.values())
        assert groups[name]["additionalProperties"] is False
    assert groups["GraphParameters"]["properties"]["n_neighbors"]["minimum"] == 2
