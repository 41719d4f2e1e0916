"""A target: a place where readers always find the newest finished version of an embedding.

`<target>/_commits/00000007.json` is create-only and names the embedding that is version 7; the highest number is the
newest. Nothing is renamed, overwritten or pointed to by a mutable object, so a reader sees a whole version or none.
"""

from typing import Any

from pumascale.tasks.storage import manifests, urls
from pumascale.tasks.storage.errors import InputError

COMMITS = "_commits"
MADE_BY = "pumascale"


def check_target(target: str) -> None:
    """Refuse a place that holds something which this pipeline did not make."""
    objects = urls.list_objects(target)
    strangers = [name for name in objects if not name.startswith(f"{COMMITS}/")]
    if strangers or (objects and newest(target) is None):
        raise InputError(
            f"{target} exists and was not made by pumascale (it holds {len(objects)} objects, {sorted(objects)[0]} "
            "for one). Expected nothing there, or a target of this pipeline: choose another URL, or move what is there."
        )


def newest(target: str) -> dict[str, Any] | None:
    """The newest version of `target`: its `version`, the URL of its `embedding`; None before the first."""
    names = sorted(urls.list_objects(urls.join(target, COMMITS)))
    return _read_version(target, names[-1]) if names else None


def _read_version(target: str, name: str) -> dict[str, Any] | None:
    found = manifests.read_json(urls.join(target, COMMITS, name))
    return found if found is not None and found.get("made_by") == MADE_BY else None


def publish(target: str, embedding: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Make `embedding` the newest version of `target`, unless it is already.

    Of two runs that publish at once both get a version of their own: the later number is the newest.
    """
    check_target(target)
    while True:
        current = newest(target)
        if current is not None and current["embedding"] == embedding:
            return current
        version = 1 if current is None else int(current["version"]) + 1
        content = {"made_by": MADE_BY, "version": version, "embedding": embedding, **facts}
        committed = manifests.commit_object(urls.join(target, COMMITS, f"{version:08d}.json"), content)
        if committed["embedding"] == embedding:
            return committed
