"""What a run's page shows while its stages work and after: progress, tables, pictures, where the outputs are."""

import base64
import contextlib
import logging
import time
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.context import FlowRunContext, TaskRunContext

from pumascale.tasks.storage import urls

logger = logging.getLogger("pumascale")

# A server that stays away longer than Prefect's client waits (a minute) ends no work that only wanted to be seen.
UNHEARD = contextlib.suppress(httpx.HTTPError)

FILES = {
    "graph": [],
    "model": ["encoder.keras", "model.json", "history.json", "held_out.npy", "loss.png"],
    "embedding": ["embedding", "map.png", "map-dark.png", "report.html"],
    "rows": ["rows"],
}
WHERE_ASKED_FOR = {"graph": ["dask-report.html"], "model": ["decoder.keras"]}


class Progress:
    """A stage's progress: an artifact on the Prefect run, about once a second, and a line per step in the log.

    Both say what the step still needs if it goes on at its pace; what an earlier run had done of it is no pace.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._step, self._figures = "", ""
        self._next, self._began, self._first = 0.0, 0.0, 0
        self._artifact: Any = None
        if TaskRunContext.get():
            with UNHEARD:
                self._artifact = create_progress_artifact(progress=0.0, description=stage)

    def __call__(self, step: str, done: int, total: int, values: dict[str, float] | None = None) -> None:
        """Report `done` of `total` of `step`; `values` are the latest figures, such as losses."""
        now, figures = time.monotonic(), "".join(f"  {name} {value:.4f}" for name, value in (values or {}).items())
        begins = step != self._step
        if begins:
            self._step, self._began, self._first = step, now, done
        if begins or figures:
            self._figures = figures
        if begins or figures or done >= total or now >= self._next:
            left = self._left(now, done, total)
            logger.info("%s: %s %d/%d%s%s", self._stage, step, done, total, left, figures)
            self._publish(f"{self._stage}: {step}{left}{self._figures}", 100.0 * done / max(1, total))
            self._next = now + 1.0

    def _left(self, now: float, done: int, total: int) -> str:
        if not self._first < done < total:
            return ""
        return f", {say_time((now - self._began) * (total - done) / (done - self._first))} left"

    def _publish(self, description: str, percent: float) -> None:
        if isinstance(self._artifact, UUID):
            with UNHEARD:
                update_progress_artifact(self._artifact, progress=percent, description=description)


def say_time(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def publish_markdown(key: str, markdown: str, description: str = "") -> None:
    """Show a table on the Prefect run; the description stands on its card."""
    if TaskRunContext.get():
        with UNHEARD:
            create_markdown_artifact(markdown=markdown, key=key, description=description)


def publish_picture(key: str, picture: bytes, description: str, older: UUID | None = None) -> UUID | None:
    """Show a PNG on the Prefect run, inline as a data URI: no file has to be served.

    Parameters
    ----------
    older : UUID, optional
        What an earlier call returned: the new picture takes that one's place.
    """
    if TaskRunContext.get() is None:
        return None
    data_uri = "data:image/png;base64," + base64.b64encode(picture).decode()
    with UNHEARD:
        if older is None:
            made: Any = create_image_artifact(image_url=data_uri, key=key, description=description)
            return made if isinstance(made, UUID) else None
        with get_client(sync_client=True) as client:
            client.update_artifact(older, ArtifactUpdate(data=data_uri))
    return older


def publish_outputs(places: dict[str, str]) -> None:
    """Show where everything is that a run made or found; `places` by kind, such as graph or model."""
    if FlowRunContext.get() is None:
        return
    found = [(f"{kind} {name}", f"{place}/{name}") for kind, place in places.items() for name in _files(kind, place)]
    lines = [f"| {name} | {link(url)} |" for name, url in sorted([*places.items(), *found])]
    with UNHEARD:
        create_markdown_artifact(
            markdown="\n".join(["| output | where |", "|---|---|", *lines]), key="outputs", description="Where it is"
        )


def _files(kind: str, place: str) -> list[str]:
    return FILES[kind] + [name for name in WHERE_ASKED_FOR.get(kind, []) if urls.is_object(urls.join(place, name))]


def link(url: str) -> str:
    """`url` in Markdown; a path as a link would lead into the page's own server."""
    return f"[{url}]({url})" if "://" in url else f"`{url}`"
