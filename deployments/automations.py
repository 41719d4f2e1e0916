"""Prefect automations for the deployments, applied again and again without duplicates.

`python deployments/automations.py` with PREFECT_API_URL set: runs whose heartbeat stopped are marked crashed.
`--downstream flow/deployment` also starts that deployment with every published embedding, its URL as `--parameter`.
`--notify type/name` also sends a message by that notification block when the drift of an update is above its bound.
"""

import argparse
from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.exceptions import ObjectNotFound

from pumascale.tasks.measure_drift import OVER

DRIFT_MESSAGE = """\
{{ event.payload.drift }} of the rows appended to {{ event.payload.source }} are unlike those that the model was
trained on; the bound is {{ event.payload.bound }}. The run: {{ flow_run|ui_url }}"""


def main() -> None:
    """Apply the automations and name them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--downstream", help="flow/deployment that a published embedding starts")
    parser.add_argument("--silence", type=float, default=600, help="seconds without a heartbeat that make a crash")
    parser.add_argument("--parameter", default="embedding", help="its parameter that takes the embedding's URL")
    parser.add_argument("--notify", help="type/name of a notification block, as `prefect block ls` lists them")
    arguments = parser.parse_args()
    wanted = [zombies_crash(timedelta(seconds=arguments.silence))]
    if arguments.downstream:
        wanted.append(embedding_starts(arguments.downstream, arguments.parameter))
    if arguments.notify:
        wanted.append(drift_notifies(arguments.notify))
    for automation in wanted:
        print(f"{upsert(automation)}: {automation.name}")


def zombies_crash(silence: timedelta = timedelta(minutes=10)) -> AutomationCore:
    """Runs that neither ended nor sent a heartbeat for that long, such as after a power cut, are marked crashed.

    By default three of Prefect's heartbeats (every 180 s) must be missing, so that a busy machine is no crash.
    """
    ends = [f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")]
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *ends},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=silence,
    )
    crash = ChangeFlowRunState(state=StateType.CRASHED, message="The run's heartbeat stopped.")
    return AutomationCore(name="pumascale: runs without a heartbeat crash", trigger=trigger, actions=[crash])


def embedding_starts(deployment: str, parameter: str) -> AutomationCore:
    """Every newly written embedding starts `deployment`; one that was there already does not."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
    trigger = EventTrigger(
        expect={"prefect.asset.materialization.succeeded"},
        match={"prefect.resource.id": "*/embeddings/*"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    start = RunDeployment(deployment_id=found.id, parameters={parameter: "{{ event.resource.id }}"})
    return AutomationCore(name=f"pumascale: an embedding starts {deployment}", trigger=trigger, actions=[start])


def drift_notifies(block: str) -> AutomationCore:
    """A message by the notification block `type/name` when rows came that the model does not know."""
    kind, _, name = block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            raise SystemExit(f"No block {block!r}. Expected type/name of one that `prefect block ls` lists.") from None
    trigger = EventTrigger(expect={OVER}, posture=Posture.Reactive, threshold=1, within=timedelta(0))
    send = SendNotification(block_document_id=found.id, subject="pumascale: drift above its bound", body=DRIFT_MESSAGE)
    return AutomationCore(name=f"pumascale: drift notifies {block}", trigger=trigger, actions=[send])


def upsert(wanted: AutomationCore) -> str:
    """Create the automation, or update the one of its name."""
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(wanted.name)
        if found:
            client.update_automation(found[0].id, wanted)
            return "updated"
        client.create_automation(wanted)
        return "created"


if __name__ == "__main__":
    main()
