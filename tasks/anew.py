"""Making everything anew, beside what is there: a killed run finds the places again that it had begun."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import runtime

from pumascale.tasks.storage import fingerprints, manifests, model_store, urls

PENDING = "forced"


@contextmanager
def salted(force: bool, workspace: str | None, model: str = "") -> Iterator[str | None]:
    """What makes the places of a forced run its own, inside; None for a run that is not.

    The salt lies in the workspace until the run has ended well. The same request finds it there, and goes on.

    Parameters
    ----------
    workspace : str, optional
        By default the one in which `model` was made.
    """
    if not force:
        yield None
        return
    request = fingerprints.digest([runtime.flow_run.flow_name, runtime.flow_run.parameters])[:16]
    url = urls.join(urls.absolute(workspace or model_store.workspace_of(model)), PENDING, f"{request}.json")
    own = {"salt": str(runtime.flow_run.id)}
    urls.create_bytes(url, manifests.encode_json(own))
    yield str((manifests.read_json(url) or own)["salt"])
    urls.remove_object(url)
