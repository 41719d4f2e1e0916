"""A target: a place where readers always find the newest finished version of an embedding.

`<target>/_commits/00000007.json` is create-only and names the embedding that is version 7; the highest number is the
newest. Nothing is renamed, overwritten or pointed to by a mutable object, so a reader sees a whole version or none.

Several targets may name one embedding. Each leaves its name under `<embedding>/targets/` before it does, so that a
target which drops an old version removes the data only when it is the last one.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
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
    objects = [name for name in urls.list_objects(target) if not name.startswith(probes.PROBE)]
    strangers = [name for name in objects if not name.startswith(f"{COMMITS}/")]
    if strangers or (objects and newest(target) is None):
        raise InputError(
            f"{target} exists and was not made by pumascale (it holds {len(objects)} objects, {min(objects)} "
            "for one). Expected nothing there, or a target of this pipeline: choose another URL, or move what is there."
        )


def newest(target: str) -> dict[str, Any] | None:
    """The newest version of `target`: its `version`, the URL of its `embedding`; None before the first."""
    seen: list[str] = []
    while (names := _names(target)) != seen:
        found = manifests.read_json(urls.join(target, COMMITS, names[-1]))
        if found is not None:
            return found if found.get("made_by") == MADE_BY else None
        seen = names  # that one was dropped since it was listed, so a newer one is there
    return None


def _names(target: str) -> list[str]:
    return sorted(urls.list_objects(urls.join(target, COMMITS)))


def _newest_first(target: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The versions that are there, each with the name of its commit, read as they are asked for."""
    for name in reversed(_names(target)):
        version = manifests.read_json(urls.join(target, COMMITS, name)) or {}
        if version.get("made_by") == MADE_BY:
            yield name, version


def _kept(target: str, keep: int) -> set[str]:
    return {version["embedding"] for _, version in islice(_newest_first(target), keep)}


def find_map(url: str) -> str:
    """URL of the finished embedding at `url`, or of the newest version of the target there."""
    version = newest(urls.absolute(url))
    embedding = urls.absolute(url) if version is None else str(version["embedding"])
    is_map = urls.read_bytes(urls.join(embedding, "embedding", "zarr.json")) is not None  # a model is finished too
    if manifests.read_manifest(embedding) is None or not is_map:
        raise InputError(f"{url} holds no finished map. Expected the URL of an embedding, or of a target.")
    return embedding


def publish(target: str, embedding: str, facts: dict[str, Any], since: str | None = None) -> dict[str, Any]:
    """Make `embedding` the newest version of `target`, unless it is already.

    Of two runs that publish at once both get a version of their own: the later number is the newest.

    Parameters
    ----------
    since : str, optional
        The embedding that was the newest when this one was begun ("": none was). A longer one of the same source that
        came since then stays the newest. By default this one becomes it in any case.

    Raises
    ------
    InputError
        When `embedding` was removed meanwhile, by a run that kept few versions, or a longer one came.
    """
    check_target(target)
    urls.remove_forsaken_parts(urls.join(target, COMMITS))
    _name_target(target, embedding)
    while True:
        current = newest(target)
        if current is not None and current["embedding"] == embedding:
            return current
        if current is not None and since is not None and current["embedding"] != since:
            _check_length(target, current, embedding, facts)
        version = 1 if current is None else int(current["version"]) + 1
        content = {"made_by": MADE_BY, "version": version, "embedding": embedding, **facts}
        url = urls.join(target, COMMITS, f"{version:08d}.json")
        committed = manifests.commit_object(url, content)
        if committed["embedding"] == embedding:
            _confirm(target, embedding, url)
            return committed


def _check_length(target: str, current: dict[str, Any], embedding: str, facts: dict[str, Any]) -> None:
    there, here = ((manifests.read_manifest(url) or {}).get("n_rows", 0) for url in (current["embedding"], embedding))
    if current.get("source") == facts.get("source") and there > here:
        raise InputError(
            f"{target} shows {there} rows of the same source since another run ended, so one of {here} is not put over "
            f"it: {embedding} is finished and not published. Nothing needs to be done."
        )


def _confirm(target: str, embedding: str, commit: str) -> None:
    """Take a version back whose data another run has dropped while it was committed."""
    try:
        _name_target(target, embedding)
    except InputError:
        urls.remove_object(commit)
        raise


def prune(target: str, keep: int) -> None:
    """Drop all but the newest `keep` versions of `target`, and the data that no other target names."""
    for name, version in reversed(list(_newest_first(target))[keep:]):
        if version["embedding"] not in _kept(target, keep):
            _release(target, version["embedding"], keep)
        urls.remove_object(urls.join(target, COMMITS, name))


def _name_target(target: str, embedding: str) -> None:
    # First the name, or the commit, then the look at the manifest; `_release` does it the other way round, so one of
    # both notices.
    urls.write_bytes(_name_url(target, embedding), manifests.encode_json({"target": target}))
    if manifests.read_manifest(embedding) is None:
        raise InputError(f"{embedding} was removed while it was being published to {target}. Run it again.")


def _release(target: str, embedding: str, keep: int) -> None:
    """Remove the embedding that `target` no longer names, unless another target does or it never named it."""
    own = _name_url(target, embedding)
    name = urls.read_bytes(own)
    if name is None:
        return  # published before targets left their names: others may hold it
    if _only_named_by(own, embedding):
        manifest = urls.read_bytes(urls.join(embedding, manifests.MANIFEST))
        urls.remove_object(urls.join(embedding, manifests.MANIFEST))
        if _only_named_by(own, embedding) and embedding not in _kept(target, keep):
            _remove_data(embedding)
        elif manifest is not None:
            urls.create_bytes(urls.join(embedding, manifests.MANIFEST), manifest)
    urls.remove_object(own)
    if embedding in _kept(target, keep):  # published again meanwhile
        urls.write_bytes(own, name)
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
