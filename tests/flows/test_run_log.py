"""The log of a run's page has the rooms' lines, those from Dask workers too, and says that a worker was lost."""

import logging
import time
from pathlib import Path

import pytest
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import Log

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.parameters import ComputeParameters
from pumascale.tasks.run_log import ROOMS
from pumascale.tasks.stage import run_stage
from pumascale.tasks.storage import manifests
from tests.compute import jobs


@flow
def another_teams_flow(place: str, mark: str) -> str:
    """A stage whose workers log; one of them dies."""

    def work() -> dict[str, str]:
        logging.getLogger("pumascale.graph").info("from the room")
        with open_client(ComputeParameters(n_workers=1)) as client:
            list(bounded_map(client, jobs.log, ["from a worker"]))
            list(bounded_map(client, jobs.die_once, [mark]))
        return manifests.commit(place, {})

    run_stage("build_graph", place, [], work)
    logging.getLogger("pumascale.graph").warning("after the stage")
    return str(runtime.flow_run.id)


def read_lines(run: str) -> list[Log]:
    """The lines on the page of a run, once its end is among them: Prefect sends them in batches."""
    asked = LogFilter.model_validate({"flow_run_id": {"any_": [run]}})
    with get_client(sync_client=True) as client:
        for _ in range(60):
            lines = client.read_logs(asked)
            if any(line.name == "prefect.flow_runs" and "Finished" in line.message for line in lines):
                return lines
            time.sleep(0.5)
    pytest.fail(f"The log of {run} does not end: {lines}")


def test_lines_of_rooms_and_workers_are_on_the_page_of_the_run(tmp_path: Path) -> None:
    level, handlers = ROOMS.level, list(ROOMS.handlers)
    lines = read_lines(another_teams_flow(str(tmp_path / "graphs" / "one"), str(tmp_path / "mark")))
    of_stage = [line for line in lines if line.task_run_id]
    rooms = [line.message for line in of_stage if line.name == "pumascale.graph"]
    assert rooms == ["from the room", "from a worker"]
    losses = [line for line in of_stage if "was lost, and 1 tasks" in line.message]
    assert [line.level for line in losses] == [logging.WARNING]
    assert [line for line in of_stage if line.name.startswith("distributed.")]
    assert (ROOMS.level, ROOMS.handlers) == (level, handlers)
