"""The deployed system: a real server, a real worker, deployments from `prefect.yaml`, runs by API."""

from pathlib import Path

import numpy as np
import zarr

from pumascale.tasks.storage import urls
from tests.deployments.conftest import Finished
from tests.deployments.runs import artifacts, completed, find, logs, read, request, start
from tests.deployments.server import Server


def test_a_run_by_api_makes_a_map_and_a_second_trigger_does_not_run_twice(server: Server, finished: Finished) -> None:
    assert set(completed(server, finished.run).values()) == {"Completed"}
    assert read(server, finished.second)["state_name"] == "Cancelled"
    embeddings = urls.join(finished.bucket, "work", "embeddings")
    made = {name.split("/")[0] for name in urls.list_objects(embeddings)}
    assert len(made) == 1
    embedding = zarr.open_array(urls.join(embeddings, made.pop(), "embedding"), mode="r")
    assert np.isfinite(np.asarray(embedding[:])).all()
    kinds = {(artifact["type"], artifact["key"]) for artifact in artifacts(server, finished.run)}
    assert {("image", "map"), ("image", "loss"), ("markdown", "quality")} <= kinds


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
