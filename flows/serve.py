"""Every flow served from this machine, for the Prefect UI: `python -m pumascale.flows.serve`.

No work pool is needed: runs that the UI, the API or a schedule asks for start as processes here. For workers on other
machines deploy `deployments/prefect.yaml` instead.
"""

from typing import Any

from prefect import Flow, serve
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_UI_URL

from pumascale.flows.export import export
from pumascale.flows.export_model import export_model
from pumascale.flows.fit import fit
from pumascale.flows.fit_transform import fit_transform
from pumascale.flows.graph import graph
from pumascale.flows.inverse_transform import inverse_transform
from pumascale.flows.split import split
from pumascale.flows.transform import transform
from pumascale.flows.update import update

NAME = "here"  # beside those of deployments/prefect.yaml, on the same server
STAGES = {f"{stage}_deployment": f"{stage}/{NAME}" for stage in ("graph", "fit", "transform")}


def main() -> None:
    """Serve until interrupted; with no PREFECT_API_URL a temporary server is started too."""
    print(f"The Prefect UI: {PREFECT_UI_URL.value() or 'see the address of the temporary server below'}", flush=True)
    serve(*deployments())


def deployments() -> list[RunnerDeployment]:
    """One deployment of each flow; the stages of `split` are those here too."""
    maps: tuple[Flow[..., Any], ...] = (fit_transform, fit, transform, update, inverse_transform)
    others: tuple[Flow[..., Any], ...] = (export, export_model, graph, split)
    made = [
        flow.to_deployment(NAME, concurrency_limit=1, tags=["pumascale"], parameters=STAGES if flow is split else None)
        for flow in maps + others
    ]
    return [one for one in made if isinstance(one, RunnerDeployment)]


if __name__ == "__main__":
    main()
