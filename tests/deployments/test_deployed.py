"""The deployed system: a real server, a real worker, deployments from `prefect.yaml`, runs by API."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
import zarr

from pumascale.tasks.storage import urls
from tests.deployments.conftest import Finished
from tests.deployments.runs import artifacts, completed, find, logs, made, read, request, start, wait_until
from tests.deployments.server import ROOT, Server


def test_a_run_by_api_makes_a_map_and_a_second_trigger_does_not_run_twice(server: Server, finished: Finished) -> None:
    assert set(completed(server, finished.run).values()) == {"Completed"}
    assert read(server, finished.second)["state_name"] == "Cancelled"
    embedding = zarr.open_array(urls.join(made(finished.bucket, "embeddings"), "embedding"), mode="r")
    assert np.isfinite(np.asarray(embedding[:])).all()


def test_the_run_page_has_tables_pictures_and_links_to_every_output(server: Server, finished: Finished) -> None:
    found = artifacts(server, finished.run)
    by_key = {artifact["key"]: artifact for artifact in found if artifact["key"]}
    assert len(by_key) == len([artifact for artifact in found if artifact["key"]])  # the curve that grew is one
    assert {key for key, artifact in by_key.items() if artifact["type"] == "image"} == {"map", "loss"}
    for stage, rows in {
        "build-graph": ("n_rows", "n_edges", "knn_recall", "knn_recall_interval"),
        "train-encoder": ("n_rows", "n_held_out", "best_val_loss"),
        "write-embedding": ("n_rows", "n_components"),
    }.items():
        for row in (*rows, "seconds", "input_bytes", "output_bytes", "peak_memory"):
            assert f"\n| {row} | " in by_key[stage]["data"], (stage, row)
    assert "neighbor_recall" in by_key["quality"]["data"]
    outputs = by_key["outputs"]["data"]
    for kind, file in {"graphs": "", "models": "/encoder.keras", "embeddings": "/report.html"}.items():
        url = made(finished.bucket, kind) + file
        assert f"[{url}]({url})" in outputs


def test_the_server_knows_what_each_output_was_made_from(server: Server, finished: Finished) -> None:
    source = urls.join(finished.bucket, "rows")
    graph, model, embedding = (made(finished.bucket, kind) for kind in ("graphs", "models", "embeddings"))
    expected = {graph: {source}, model: {source, graph}, embedding: {source, model}}
    assert {place: upstream(server, place) for place in expected} == expected


def upstream(server: Server, asset: str) -> set[str]:
    """The assets that the asset was made from, by the event of its making."""
    asked = {
        "event": {"name": ["prefect.asset.materialization.succeeded"]},
        "resource": {"id": [asset]},
        "occurred": {"since": "2020-01-01T00:00:00Z"},
    }

    def events() -> list[dict[str, Any]]:
        answer = server.ask("POST", "events/filter", {"filter": asked}).raise_for_status()
        return list(answer.json()["events"])

    wait_until(events, 60, f"nothing is known of {asset}", server)  # events come behind the end of their run
    found = events()
    assert len(found) == 1
    return {one["prefect.resource.id"] for one in found[0]["related"] if one["prefect.resource.role"] == "asset"}


def test_a_run_by_command_works_and_the_next_finds_what_it_has_made(server: Server, finished: Finished) -> None:
    asked = request(finished.bucket) | {"workspace": urls.join(finished.bucket, "by-command")}
    assert set(completed(server, by_command(server, asked)).values()) == {"Completed"}
    again = by_command(server, asked)
    assert set(completed(server, again).values()) == {"Cached"}
    assert [artifact["key"] for artifact in artifacts(server, again)] == ["outputs"]


def by_command(server: Server, parameters: dict[str, Any]) -> str:
    """The id of a run that the `prefect` command asked for."""
    said = server.call("deployment", "run", "fit-transform/pumascale", "--params", json.dumps(parameters))
    found = re.search(r"UUID: ([0-9a-f-]{36})", said)
    assert found, said
    return found[1]


def test_the_server_gives_figures_and_the_worker_says_that_it_lives(server: Server) -> None:
    assert "# TYPE " in server.ask("GET", "metrics").raise_for_status().text
    assert httpx.get(f"http://127.0.0.1:{server.health_port}/health", timeout=30).status_code == 200


def test_the_other_pools_take_what_the_deployments_give_them_and_refuse_what_is_none(server: Server) -> None:
    pools = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["definitions"]["pools"]
    kinds = {"docker": ["docker"], "gpu": ["kubernetes", "--base-job-template", "deployments/k8s-gpu.json"]}
    for kind, words in kinds.items():
        server.call("work-pool", "create", pools[kind]["name"], "--type", *words)
        assert deploy(server, pools[kind], {}).status_code == 201
    refused = deploy(server, pools["gpu"], {"gpus": -3})
    assert refused.status_code == 422
    assert "-3 is less than the minimum of 0" in refused.text


def deploy(server: Server, pool: dict[str, Any], changes: dict[str, Any]) -> httpx.Response:
    """Deploy `fit` on a pool, with the job variables that `prefect.yaml` has for it."""
    asked = {"name": pool["name"], "flow_id": find(server, "fit")["flow_id"], "work_pool_name": pool["name"]}
    job = {"job_variables": pool["job_variables"] | changes}
    return server.ask("POST", "deployments/", asked | job)


def test_the_log_of_the_run_has_the_steps_of_its_stages(server: Server, finished: Finished) -> None:
    lines = [line for line in logs(server, finished.run) if line["name"].startswith("pumascale")]
    for stage in ("build_graph", "train_encoder", "write_embedding"):
        assert [line for line in lines if line["message"].startswith(f"{stage}: ") and line["task_run_id"]]


def test_wrong_values_are_refused_before_a_machine_starts(server: Server, tmp_path: Path) -> None:
    parameters = request(str(tmp_path)) | {"graph": {"n_neighbors": 1}}
    refused = start(server, find(server, "fit-transform"), parameters)
    assert refused.status_code == 409
    assert "less than the minimum of 2" in refused.text
    unknown = start(server, find(server, "fit-transform"), request(str(tmp_path)) | {"graph": {"neighbours": 3}})
    assert unknown.status_code == 409


def test_the_form_has_every_parameter_with_help_bounds_choices_and_order(server: Server) -> None:
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
    assert groups["GraphParameters"]["properties"]["non_finite"]["enum"] == ["error", "skip"]  # a choice
