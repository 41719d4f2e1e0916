"""A target: a place where readers always find the newest finished version of an embedding.

`<target>/_commits/00000007.json` is create-only and names the embedding that is version 7; the highest number is the
newest. Nothing is renamed, overwritten or pointed to by a mutable object, so a reader sees a whole version or none.

Several targets may name one embedding. Each leaves its name under `<embedding>/targets/` before it does, so that a
target which drops an old version removes the data only when it is the last one.
"""

import hashlib
from typing import Any

from pumascale.tasks.storage import manifests, probes, urls
from pumascale.tasks.storage.errors import InputError

COMMITS = "_commits"
MADE_BY = "pumascale"
NAMED_BY = "targets"
# What write_embedding makes at an embedding's place; anything else there is somebody's and stays.
TREES = ("embedding",)
OBJECTS = ("map.png", "map-dark.png", "report.html", "source.json", "zarr.json")


def check_target(target: str) -> None:
    """Refuse a place that holds something which this pipeline did not make."""
    probes.check_reachable(target)
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


def find_map(url: str) -> str:
    """URL of the finished embedding at `url`, or of the newest version of the target there."""
    version = newest(urls.absolute(url))
    embedding = urls.absolute(url) if version is None else str(version["embedding"])
    if manifests.read_manifest(embedding) is None:
        raise InputError(f"{url} holds no finished map. Expected the URL of an embedding, or of a target.")
    return embedding


def _read_version(target: str, name: str) -> dict[str, Any] | None:
    found = manifests.read_json(urls.join(target, COMMITS, name))
    return found if found is not None and found.get("made_by") == MADE_BY else None


def publish(target: str, embedding: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Make `embedding` the newest version of `target`, unless it is already.

    Of two runs that publish at once both get a version of their own: the later number is the newest.

    Raises
    ------
    InputError
        When `embedding` was removed meanwhile, by another target that kept few versions.
    """
    check_target(target)
    _name_target(target, embedding)
    while True:
        current = newest(target)
        if current is not None and current["embedding"] == embedding:
            return current
        version = 1 if current is None else int(current["version"]) + 1
        content = {"made_by": MADE_BY, "version": version, "embedding": embedding, **facts}
        committed = manifests.commit_object(urls.join(target, COMMITS, f"{version:08d}.json"), content)
        if committed["embedding"] == embedding:
            return committed


def prune(target: str, keep: int) -> None:
    """Drop all but the newest `keep` versions of `target`, and the data that no other target names."""
    names = sorted(urls.list_objects(urls.join(target, COMMITS)))
    found = [_read_version(target, name) for name in names]
    kept = {version["embedding"] for version in found[-keep:] if version is not None}
    for name, version in list(zip(names, found, strict=True))[:-keep]:
        if version is None:
            continue
        if version["embedding"] not in kept:
            _release(target, version["embedding"])
        urls.remove_object(urls.join(target, COMMITS, name))


def _name_target(target: str, embedding: str) -> None:
    # First the name, then the look at the manifest; `_release` does it the other way round, so one of both notices.
    urls.write_bytes(_name_url(target, embedding), manifests.encode_json({"target": target}))
    if manifests.read_manifest(embedding) is None:
        raise InputError(f"{embedding} was removed while it was being published to {target}. Run it again.")


def _release(target: str, embedding: str) -> None:
    """Remove the embedding that `target` no longer names, unless another target does or it never named it."""
    own = _name_url(target, embedding)
    if urls.read_bytes(own) is None:
        return  # published before targets left their names: others may hold it
    if _only_named_by(own, embedding):
        manifest = urls.read_bytes(urls.join(embedding, manifests.MANIFEST))
        urls.remove_object(urls.join(embedding, manifests.MANIFEST))
        if _only_named_by(own, embedding):
            _remove_data(embedding)
        elif manifest is not None:
            urls.create_bytes(urls.join(embedding, manifests.MANIFEST), manifest)
    urls.remove_object(own)
    if not urls.list_objects(embedding):
        urls.remove_tree(embedding)  # a disk's empty folders


def _name_url(target: str, embedding: str) -> str:
    return urls.join(embedding, NAMED_BY, f"{hashlib.sha256(target.encode()).hexdigest()[:16]}.json")


def _only_named_by(own: str, embedding: str) -> bool:
    return len(urls.list_objects(urls.join(embedding, NAMED_BY))) == 1 and urls.read_bytes(own) is not None


def _remove_data(embedding: str) -> None:
    for name in TREES:
        urls.remove_tree(urls.join(embedding, name))
    for name in OBJECTS:
        urls.remove_object(urls.join(embedding, name))
