"""The parameters of every deployment, as the form shows them and callers send them, against those agreed on.

After a change that is meant, renew them by `uv run python -m tests.deployments.test_form` and look at the difference.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import yaml
from prefect.utilities.callables import parameter_schema

from tests.deployments.runs import find
from tests.deployments.server import ROOT, Server

AGREED = Path(__file__).with_name("form.json")
RENEW = "The form is not as agreed. If that is meant: uv run python -m tests.deployments.test_form"


def forms() -> dict[str, Any]:
    """The schema of every deployed flow; groups that several flows have, once."""
    flows, groups = {}, {}
    for deployment in yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]:
        module, name = deployment["entrypoint"].rsplit(".", 1)
        schema = parameter_schema(getattr(importlib.import_module(module), name)).model_dump()
        groups |= schema.pop("definitions")
        flows[name] = schema
    return dict(json.loads(json.dumps({"flows": flows, "groups": groups})))


def test_the_forms_are_those_agreed_on() -> None:
    assert forms() == json.loads(AGREED.read_text()), RENEW


def test_a_deployed_form_is_the_one_agreed_on(server: Server) -> None:
    agreed = json.loads(AGREED.read_text())
    deployed = find(server, "fit-transform")["parameter_openapi_schema"]
    assert deployed == agreed["flows"]["fit_transform"] | {"definitions": agreed["groups"]}, RENEW


if __name__ == "__main__":
    AGREED.write_text(json.dumps(forms(), indent=1) + "\n")
