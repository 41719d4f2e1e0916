"""Versions that come and go: the newest stay, and data goes with the last target that names it."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

import boto3
import pytest

from pumascale.tasks.storage import manifests, probes, targets, urls
from pumascale.tasks.storage.errors import InputError


@contextmanager
def after_next_listing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Inside, another run acts when the versions of a target have been listed, once, and before they are read."""
    listed = urls.list_objects

    def list_and_act(url: str) -> dict[str, urls.ObjectInfo]:
        found = listed(url)
        if url.endswith(targets.COMMITS):
            patched.undo()
            act()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(urls, "list_objects", list_and_act)
        yield


def make(workspace: str, name: str) -> str:
    """A finished embedding, as far as targets look into one."""
    place = f"{workspace}/embeddings/{name}"
    for part in ("embedding/c/0/0", "embedding/zarr.json", "zarr.json", "map.png", "source.json"):
        urls.write_bytes(f"{place}/{part}", b"1")
    manifests.commit(place, {"name": name})
    return place


def versions(target: str) -> list[str]:
    return sorted(urls.list_objects(f"{target}/_commits"))


def test_of_racing_runs_each_gets_a_version_of_its_own(workspace: str) -> None:
    places = [make(workspace, str(number)) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        published = list(pool.map(lambda place: targets.publish(f"{workspace}/map", place, {}), places))
    assert sorted(version["version"] for version in published) == [1, 2, 3, 4, 5, 6]
    assert [version["embedding"] for version in published] == places
    last = max(published, key=itemgetter("version"))
    assert (targets.newest(f"{workspace}/map") or {})["embedding"] == last["embedding"]


def test_the_newest_versions_stay_and_the_data_of_others_goes(workspace: str) -> None:
    places = [make(workspace, name) for name in "abc"]
    for place in places:
        targets.publish(f"{workspace}/map", place, {})
    targets.prune(f"{workspace}/map", 2)
    assert versions(f"{workspace}/map") == ["00000002.json", "00000003.json"]
    assert urls.list_objects(places[0]) == {}
    assert all(manifests.read_manifest(place) for place in places[1:])
    targets.prune(f"{workspace}/map", 2)
    assert (targets.newest(f"{workspace}/map") or {})["version"] == 3


def test_a_version_that_goes_while_it_is_read_is_looked_for_again(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, places = f"{workspace}/map", [make(workspace, name) for name in "abcd"]

    def replace() -> None:
        targets.publish(target, places.pop(), {})
        targets.prune(target, 1)

    targets.publish(target, places[0], {})
    with after_next_listing(monkeypatch, replace):
        assert (targets.newest(target) or {})["version"] == 2
    with after_next_listing(monkeypatch, replace):
        assert targets.publish(target, places[1], {})["version"] == 4


def test_an_old_map_that_is_published_again_keeps_its_data_or_is_no_version(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, old, new = f"{workspace}/map", make(workspace, "old"), make(workspace, "new")
    for place in (old, new):
        targets.publish(target, place, {})
    with after_next_listing(monkeypatch, lambda: targets.publish(target, old, {})):
        targets.prune(target, 1)
    assert (targets.newest(target) or {})["embedding"] == old
    assert manifests.read_manifest(old)
    assert urls.read_bytes(f"{old}/embedding/c/0/0") == b"1"

    targets.publish(target, new, {})
    commit = manifests.commit_object

    def commit_as_another_prunes(url: str, content: dict[str, object]) -> dict[str, object]:
        targets.prune(target, 1)
        return commit(url, content)

    monkeypatch.setattr(manifests, "commit_object", commit_as_another_prunes)
    with pytest.raises(InputError, match="was removed while it was being published"):
        targets.publish(target, old, {})
    assert (targets.newest(target) or {})["embedding"] == new


def test_a_shorter_map_is_not_published_over_a_longer_one_that_came_meanwhile(workspace: str) -> None:
    target, places = f"{workspace}/map", [f"{workspace}/embeddings/{n_rows}" for n_rows in (500, 560, 600)]
    for place in places:
        manifests.commit(place, {"n_rows": int(place[-3:])})
    targets.publish(target, places[0], {"source": "rows"})
    targets.publish(target, places[2], {"source": "rows"}, since=places[0])
    with pytest.raises(InputError, match=r"shows 600 rows .* one of 560"):
        targets.publish(target, places[1], {"source": "rows"}, since=places[0])
    assert targets.publish(target, places[1], {"source": "other"}, since=places[0])["version"] == 3
    assert targets.publish(target, places[0], {"source": "other"}, since=places[1])["version"] == 4


def test_what_a_probe_left_in_a_target_is_no_stranger(workspace: str) -> None:
    urls.write_bytes(f"{workspace}/map/{probes.PROBE}0f0f", b"1")
    assert targets.publish(f"{workspace}/map", make(workspace, "one"), {})["version"] == 1


def test_a_folder_that_a_console_made_on_s3_is_no_stranger_and_no_version(s3: str, s3_server: str) -> None:
    client = boto3.client("s3", endpoint_url=s3_server)
    for name in ("map/", "map/_commits/"):
        client.put_object(Bucket=s3.removeprefix("s3://"), Key=name, Body=b"")
        targets.check_target(f"{s3}/map")
    assert urls.list_objects(f"{s3}/map") == {}
    assert targets.publish(f"{s3}/map", make(s3, "one"), {})["version"] == 1


def test_what_is_listed_and_not_there_is_looked_for_no_longer_than_that_changes(tmp_path: Path) -> None:
    target = f"{tmp_path}/map"
    targets.publish(target, make(str(tmp_path), "one"), {})
    os.symlink("nowhere", f"{target}/_commits/00000002.json")
    assert targets.newest(target) is None


def test_data_goes_with_the_last_target_that_names_it(workspace: str) -> None:
    old, new = make(workspace, "old"), make(workspace, "new")
    for target in ("one", "two"):
        targets.publish(f"{workspace}/{target}", old, {})
        targets.publish(f"{workspace}/{target}", new, {})
    targets.prune(f"{workspace}/one", 1)
    assert manifests.read_manifest(old)
    targets.prune(f"{workspace}/two", 1)
    assert urls.list_objects(old) == {}


def test_a_version_that_came_back_is_not_removed_with_its_older_number(workspace: str) -> None:
    one, other = make(workspace, "one"), make(workspace, "other")
    for place in (one, other, one):
        targets.publish(f"{workspace}/map", place, {})
    targets.prune(f"{workspace}/map", 1)
    assert versions(f"{workspace}/map") == ["00000003.json"]
    assert manifests.read_manifest(one)
    assert urls.list_objects(other) == {}


def test_a_target_that_names_it_in_the_last_moment_is_noticed(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = make(workspace, "old"), make(workspace, "new")
    for place in (old, new):
        targets.publish(f"{workspace}/map", place, {})
    remove = urls.remove_object

    def remove_as_another_publishes(url: str) -> None:
        remove(url)
        if url == f"{old}/manifest.json":
            with pytest.raises(InputError, match="was removed while it was being published"):
                targets.publish(f"{workspace}/other", old, {})

    monkeypatch.setattr(urls, "remove_object", remove_as_another_publishes)
    targets.prune(f"{workspace}/map", 1)
    assert (manifests.read_manifest(old) or {})["name"] == "old"
    assert urls.read_bytes(f"{old}/embedding/c/0/0") == b"1"


def test_a_commit_that_was_killed_before_it_was_whole_is_no_version(tmp_path: Path) -> None:
    urls.write_bytes(f"{tmp_path}/map/_commits/.00000001.json.{'0f' * 6}.part", b'{"made_by": "pumasc')
    assert targets.newest(f"{tmp_path}/map") is None
    os.utime(*tmp_path.glob("map/_commits/.*"), (0, 0))
    assert targets.publish(f"{tmp_path}/map", make(str(tmp_path), "one"), {})["version"] == 1
    assert [path.name for path in tmp_path.glob("map/_commits/*")] == ["00000001.json"]


def test_what_was_published_without_a_name_is_left(workspace: str) -> None:
    old, new = make(workspace, "old"), make(workspace, "new")
    for place in (old, new):
        targets.publish(f"{workspace}/map", place, {})
    urls.remove_tree(f"{old}/targets")
    targets.prune(f"{workspace}/map", 1)
    assert manifests.read_manifest(old)
    assert versions(f"{workspace}/map") == ["00000002.json"]


def test_what_a_stranger_put_beside_the_data_stays(workspace: str) -> None:
    old, new = make(workspace, "old"), make(workspace, "new")
    for place in (old, new):
        targets.publish(f"{workspace}/map", place, {})
    urls.write_bytes(f"{old}/notes.txt", b"mine")
    targets.prune(f"{workspace}/map", 1)
    assert sorted(urls.list_objects(old)) == ["notes.txt"]
