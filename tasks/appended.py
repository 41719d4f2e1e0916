"""What an update has to do: which rows are new since the newest version of a target, and what can be taken over."""

import logging
from typing import Any

from pydantic import BaseModel

from pumascale.tasks.storage import changes, manifests, model_store, sources, targets, urls
from pumascale.tasks.storage.errors import InputError

logger = logging.getLogger("pumascale")


class Appended(BaseModel):
    """The rows of a source since the newest version of a target."""

    asked_model: str  # the one that the user named
    model: str  # the one that places the rows: what an earlier update retrained from it, if one did
    previous: str | None  # the newest version's embedding
    n_rows_before: int  # in the newest version
    n_rows: int  # when this was found: more may have come by the time that they are placed
    n_unchanged: int  # rows whose chunks are as they were: the coordinates of these are still right
    same_rows: bool  # whether row i is still the one that the newest version shows at i: by force nobody has looked
    drift: dict[str, Any] = {}  # how unlike the trained rows the new ones are, once measured


def find_appended(source: str, model: str, target: str, force: bool = False) -> Appended:
    """Compare `source` with the newest version of `target`.

    Parameters
    ----------
    model : str
        URL of a finished model; where the newest version was placed by one retrained from it, that one goes on.
    force : bool
        Nothing is compared and nothing can be taken over.

    Raises
    ------
    InputError
        When the rows do not fit the model, the target shows another source, or rows in it changed in place.
    """
    source, model, target = urls.absolute(source), urls.absolute(model), urls.absolute(target)
    targets.check_target(target)
    version = targets.newest(target) or {}
    used = version["model"] if version.get("retrained_from") == model else model
    model_store.check_rows(source, model_store.read_model(used))
    before = manifests.read_manifest(version["embedding"]) if version else None
    return Appended(
        asked_model=model,
        model=used,
        previous=version["embedding"] if before else None,
        n_rows_before=before["n_rows"] if before else 0,
        n_rows=sources.open_source(source).shape[0],
        same_rows=not force,
        n_unchanged=_unchanged(source, target, version) if before and not force else 0,
    )


def _unchanged(source: str, target: str, version: dict[str, Any]) -> int:
    if version["source"] != source:
        raise InputError(f"{target} shows the rows of {version['source']}, not those of {source}. {changes.REMEDY}")
    record = changes.read_record(version["embedding"])
    if record is None:
        logger.info("update: %s does not say what its source was, so all rows are embedded", version["embedding"])
        return 0
    return changes.unchanged_rows(source, record)
