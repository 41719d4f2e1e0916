"""The files beside the deployments: what they name exists, and the GPU template asks for GPUs."""

import importlib
import json
import re

import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from tests.deployments.server import ROOT

DEPLOYMENTS = ROOT / "deployments"


def test_every_entrypoint_is_a_flow_and_every_pool_is_defined() -> None:
    content = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
    pools = content["definitions"]["pools"].values()
    assert content["pull"] == []
    for deployment in content["deployments"]:
        module, name = deployment["entrypoint"].rsplit(".", 1)
        assert isinstance(getattr(importlib.import_module(module), name), Flow)
        assert deployment["work_pool"] in pools
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_the_forms_of_the_other_flows_keep_their_order_and_help() -> None:
    expected = {
        "fit": ["source", "workspace", "graph", "training", "compute", "force"],
        "transform": ["source", "model", "target", "workspace", "labels", "embedding", "force"],
        "update": [
            "source",
            "model",
            "target",
            "workspace",
            "labels",
            "retrain_above",
            "embedding",
            "compute",
            "force",
        ],
        "export": ["map_url", "place", "to", "labels"],
        "inverse_transform": ["coordinates", "model", "workspace", "embedding", "force"],
    }
    for name, order in expected.items():
        schema = parameter_schema(getattr(importlib.import_module(f"pumascale.flows.{name}"), name))
        assert list(schema.properties) == order
        assert all(field.get("description") for field in schema.properties.values() if "type" in field)


def test_the_kubernetes_template_asks_for_gpus_and_defines_every_variable_it_uses() -> None:
    template = json.loads((DEPLOYMENTS / "k8s-gpu.json").read_text())
    variables = template["variables"]["properties"]
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used <= set(variables)
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert variables["gpus"]["minimum"] == 0


def test_compose_services_wait_for_services_that_exist_and_can_be_waited_for() -> None:
    content = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    services = content["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source == ".." or source in content["volumes"]


def test_the_dockerfile_copies_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOYMENTS / "Dockerfile").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())
    assert {"flows", "tasks", "pyproject.toml"} <= {name for line in copied for name in line.split()}
