"""The Prefect side that the doors share: what a stage returns, how it is reused, its asset, the run's manifest.

Prefect's own result cache does not notice a deleted output, so a stage asks its place's manifest instead and only
shows the answer: a state named Cached.
"""

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from prefect.assets import Asset, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel

from pumascale.tasks.compute.memory import forget_peak, peak_memory
from pumascale.tasks.run_log import on_the_run_page
from pumascale.tasks.run_page import publish_outputs
from pumascale.tasks.storage import lease, manifests, urls
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.failures import with_a_store

logger = logging.getLogger("pumascale")
Result = TypeVar("Result")


class Stage(BaseModel):
    """What a door returns: where its output is, and the manifest that says what it is."""

    name: str
    url: str
    cached: bool
    seconds: float
    manifest: dict[str, Any]


def run_stage(name: str, place: str, upstream: list[str], work: Callable[[], dict[str, Any]]) -> Stage:
    """Run `work` as the Prefect task `name` that materializes `place`, unless the place is finished already.

    Parameters
    ----------
    upstream : list of str
        URLs that the output is made from: the lineage in Prefect.
    work : callable
        Makes the output, commits it and returns the manifest.
    """
    started = time.perf_counter()
    lineage: list[str | Asset] = [asset_key(url) for url in upstream]
    stage_task = make_or_reuse.with_options(name=name, assets=[asset_key(place)], asset_deps=lineage)
    state: State[Any] = stage_task(place, work, return_state=True)
    manifest: dict[str, Any] = state.result()
    seconds = round(time.perf_counter() - started, 2)
    return Stage(name=name, url=place, cached=state.name == "Cached", seconds=seconds, manifest=manifest)


@materialize("file:///place", cache_policy=NO_CACHE)
@on_the_run_page()
def make_or_reuse(place: str, work: Callable[[], dict[str, Any]]) -> State[dict[str, Any]] | dict[str, Any]:
    """The task of every door: the finished place's manifest as a Cached state, or the work."""
    if manifests.read_manifest(place) is None:
        made = with_a_store(place, partial(make_alone, place, work))
        if made is not None:
            return made
    logger.info("already there: %s", place)
    return Completed(name="Cached", message=f"already there: {place}", data=manifests.read_manifest(place))


def make_alone(place: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """The manifest that the work made; None where another run was at the same place, and has finished it meanwhile."""
    try:
        return _make_in_turn(place, work)
    except lease.LeaseLostError as error:
        logger.info("%s", error)
        return make_alone(place, work)  # which waits for the other, and works where that one fails


def _make_in_turn(place: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    with lease.held(place):
        if manifests.read_manifest(place) is not None:
            return None
        urls.remove_parts(place, lease.LEASE)  # which others are asking for
        forget_peak()
        try:
            return work()
        except Exception as error:
            # A lease may be taken over, so two runs may work: who commits first takes the scratch of the other away.
            if manifests.read_manifest(place) is None:
                raise
            logger.info("%s was finished by another run; this one ended with %r", place, error)
            return None


def stage_elsewhere(name: str, place: str, work: Callable[[], None]) -> Stage:
    """The stage `name` at `place`, which `work` has another run make.

    Raises
    ------
    InputError
        When it is not there afterwards.
    """
    started, cached = time.perf_counter(), manifests.read_manifest(place) is not None
    work()
    manifest = manifests.read_manifest(place)
    if manifest is None:
        raise InputError(
            f"{place} is not there, though the run that makes it ended well. Expected machines that reach the source "
            "and the workspace by the same URLs and have the same version of pumascale."
        )
    seconds = round(time.perf_counter() - started, 2)
    return Stage(name=name, url=place, cached=cached, seconds=seconds, manifest=manifest)


def costs(started: float, place: str, *inputs: str) -> dict[str, Any]:
    """What a stage took, for its manifest.

    Parameters
    ----------
    started : float
        `time.perf_counter()` at its beginning.

    Returns
    -------
    dict
        `seconds`; `peak_memory`, bytes, of this process since the stage began, with what it held already;
        `input_bytes` and `output_bytes`, the sizes of the objects of `inputs` and of `place`: what lies in the stores,
        however often it was read or written over.
    """
    sizes = [sum(found.size for found in urls.list_objects(url).values()) for url in (place, *inputs)]
    return {
        "seconds": time.perf_counter() - started,
        "peak_memory": peak_memory(),
        "input_bytes": sum(sizes[1:]),
        "output_bytes": sizes[0],
    }


def asset_key(url: str) -> str:
    """`url` as Prefect's asset keys have it: with a scheme, without the characters they refuse."""
    full = f"file://{url}" if urls.is_local(url) and "://" not in url else url
    return re.sub(r"[\s#%?]", "_", full)[:512]


def summarize(*stages: Stage) -> dict[str, Any]:
    """The run's manifest: where everything is, how good it is, how long it took, what was there already.

    The places are on the run's page too, those of stages that had nothing to do as well.
    """
    kinds = {"build_graph": "graph", "train_encoder": "model", "write_embedding": "embedding", "write_rows": "rows"}
    last = stages[-1].manifest
    places = {kinds[stage.name]: stage.url for stage in stages}
    publish_outputs(places)
    quality = last.get("quality", {}) | _graph_quality(stages[0].manifest)
    return places | {
        "n_rows": last["n_rows"],
        "n_components": last.get("n_components"),
        "seconds": {stage.name: stage.seconds for stage in stages},
        "quality": quality,
        "cached": [stage.name for stage in stages if stage.cached],
        "version": last.get("version"),
    }


def _graph_quality(manifest: dict[str, Any]) -> dict[str, Any]:
    names = ("knn_recall", "knn_recall_interval", "knn_recall_sample")
    return {name: manifest[name] for name in names if name in manifest}
