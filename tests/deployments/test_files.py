"""The files beside the deployments: linted, what they name exists, and the GPU template asks for GPUs."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from prefect import Flow
from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, PrefectYamlModel, WorkPoolConfig
from prefect.utilities.callables import parameter_schema

from tests.deployments.server import ROOT

DEPLOYMENTS = ROOT / "deployments"


def lint(*command: str) -> None:
    """Run a linter that came into this environment with the others."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    lint("hadolint", "--failure-threshold", "style", str(DEPLOYMENTS / "Dockerfile"))


def test_the_compose_file_is_of_the_published_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOYMENTS / "compose.yaml"))


def test_the_deployments_are_read_by_prefect_and_no_word_is_one_that_it_ignores() -> None:
    content = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
    PrefectYamlModel.model_validate(content)
    assert set(content) - {"definitions"} <= set(PrefectYamlModel.model_fields)
    for deployment in content["deployments"]:
        assert set(deployment) <= set(DeploymentConfig.model_fields)
        assert set(deployment["concurrency_limit"]) <= set(ConcurrencyLimitSpec.model_fields)
    for pool in content["definitions"]["pools"].values():
        assert set(pool) <= set(WorkPoolConfig.model_fields)


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
        "transform": ["source", "model", "target", "workspace", "labels", "embedding", "compute", "force"],
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
        assert all(field.get("description") for field in schema.properties.values())


def test_the_kubernetes_template_asks_for_gpus_and_defines_every_variable_it_uses() -> None:
    template = json.loads((DEPLOYMENTS / "k8s-gpu.json").read_text())
    variables = template["variables"]["properties"]
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used <= set(variables)
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert variables["gpus"]["minimum"] == 0
    # Prefect's worker refuses a job without these here, though Kubernetes, which passes over them, has them elsewhere.
    assert {"completions", "parallelism"} <= set(pod)


def test_compose_services_wait_for_services_that_exist_and_can_be_waited_for() -> None:
    content = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    services = content["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source == ".." or source in content["volumes"]
        # Docker opens a port past the machine's firewall, and the keys are known to everybody.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_composed_image_has_what_the_exports_write_by_default() -> None:
    service = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())["services"]["worker"]
    extras = re.findall(r"\w+", service["build"]["args"]["EXTRA"])
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for name in ("export", "export_model"):
        schema = parameter_schema(getattr(importlib.import_module(f"pumascale.flows.{name}"), name))
        assert schema.properties["to"]["default"] in extras


def test_the_images_for_cpus_and_for_gpus_differ_by_an_extra_that_exists() -> None:
    content = (DEPLOYMENTS / "Dockerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--build-arg EXTRA=\[(\w+)\]", content)) == {"gpu"} <= set(extras)
    assert re.search(r'^ARG EXTRA=""$', content, re.MULTILINE)
    assert '"$(ls /wheels/*.whl)${EXTRA}"' in content


def test_the_dockerfile_copies_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOYMENTS / "Dockerfile").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())
    assert {"flows", "tasks", "pyproject.toml"} <= {name for line in copied for name in line.split()}
