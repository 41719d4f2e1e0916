"""Every flow served from this machine, for the Prefect UI: `python -m pumascale.flows.serve`.

No work pool is needed: runs that the UI, the API or a schedule asks for start as processes here. For workers on other
machines deploy `deployments/prefect.yaml` instead.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect import Flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_API_PORT, PREFECT_UI_URL, temporary_settings

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
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
TAKEN = (
    "pumascale: no Prefect server could be started on port {}. Expected a free port: set PREFECT_SERVER_API_PORT, or "
    "PREFECT_API_URL to the address of a server that runs already."
)


def main() -> None:
    """Serve until interrupted; with no PREFECT_API_URL a Prefect server is started too, and ends with it."""
    if PREFECT_API_URL.value():
        serve_all()
    else:
        with server() as address, temporary_settings({PREFECT_API_URL: f"{address}/api"}):
            serve_all()


def serve_all() -> None:
    """Say where the UI is and serve every flow."""
    print(f"The Prefect UI: {PREFECT_UI_URL.value()}", flush=True)
    serve(*deployments())


@contextmanager
def server() -> Iterator[str]:
    """The address of a server of our own, deaf to Ctrl-C. The one that Prefect would start has no UI and no schedules.

    Where one answers there already, ours ends by itself and that one is used.
    """
    port = PREFECT_SERVER_API_PORT.value()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "server", "start", "--host", "127.0.0.1"]
    started = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # until Prefect's own handler: it must not be left alone
    try:
        while not answers(port):
            if started.poll() is not None:
                raise SystemExit(TAKEN.format(port))
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait()


def answers(port: int) -> bool:
    """Whether a Prefect server is at that port of this machine, and not another program."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health").text == "true"
    except httpx.HTTPError:
        return False


def deployments() -> list[RunnerDeployment]:
    """One deployment of each flow; the stages of `split` are those here too."""
    maps: tuple[Flow[..., Any], ...] = (fit_transform, fit, transform, update, inverse_transform)
    others: tuple[Flow[..., Any], ...] = (export, export_model, graph, split)
    made = [
        flow.to_deployment(
            NAME, concurrency_limit=ONE_AT_A_TIME, tags=["pumascale"], parameters=STAGES if flow is split else None
        )
        for flow in maps + others
    ]
    return [one for one in made if isinstance(one, RunnerDeployment)]


if __name__ == "__main__":
    main()
