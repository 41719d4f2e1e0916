"""Small objects on a disk and on S3."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pumascale.tasks.storage import disk, urls
from pumascale.tasks.storage.errors import InputError


def test_write_read_overwrite_remove(workspace: str) -> None:
    url = urls.join(workspace, "deep", "er", "object")
    assert urls.read_bytes(url) is None
    urls.write_bytes(url, b"one")
    urls.write_bytes(url, b"three")
    assert urls.read_bytes(url) == b"three"
    assert urls.object_info(url).size == 5
    urls.remove_object(url)
    urls.remove_object(url)
    assert urls.read_bytes(url) is None
    with pytest.raises(FileNotFoundError):
        urls.object_info(url)


def test_parts_of_a_large_object_are_read(workspace: str) -> None:
    url, content = urls.join(workspace, "deep", "run"), bytearray(range(256)) * 100
    for _ in range(2):
        urls.write_large(url, content)
        assert urls.read_range(url, 250, 260) == content[250:260]
        assert urls.read_range(url, 25_000, 30_000) == content[25_000:]
    with pytest.raises(FileNotFoundError):
        urls.read_range(url + "-not-there", 0, 1)
    assert list(urls.list_objects(urls.join(workspace, "deep"))) == ["run"]


def test_a_create_happens_once(workspace: str) -> None:
    url = urls.join(workspace, "new", "object")
    assert urls.create_bytes(url, b"first")
    assert not urls.create_bytes(url, b"second")
    assert urls.read_bytes(url) == b"first"


def test_of_racing_creates_one_wins(workspace: str) -> None:
    url = urls.join(workspace, "raced")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda writer: urls.create_bytes(url, str(writer).encode()), range(8)))
    assert sum(won) == 1
    assert urls.read_bytes(url) == str(won.index(True)).encode()


def test_listing_is_by_relative_path_and_never_stale(workspace: str) -> None:
    place = urls.join(workspace, "place")
    assert urls.list_objects(place) == {}
    urls.write_bytes(urls.join(place, "a"), b"1")
    first = urls.list_objects(place)
    urls.write_bytes(urls.join(place, "b", "c"), b"22")
    urls.write_bytes(urls.join(workspace, "place-beside"), b"3")
    second = urls.list_objects(place)
    assert (list(first), sorted(second)) == (["a"], ["a", "b/c"])
    assert (first["a"], second["b/c"].size) == (second["a"], 2)
    urls.write_bytes(urls.join(place, "a"), b"2")
    assert urls.list_objects(place)["a"].etag != first["a"].etag


def test_no_part_of_a_file_is_left_or_listed(tmp_path: Path) -> None:
    urls.write_bytes(str(tmp_path / "object"), b"1")
    urls.create_bytes(str(tmp_path / "object"), b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["object"]


def test_no_part_of_a_file_is_left_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(b"1")
    monkeypatch.setattr(disk.os, "fsync", full)
    monkeypatch.setattr(disk.shutil, "copyfile", lambda file, part: (part.touch(), full()))
    for write in (urls.write_bytes, urls.create_bytes, lambda url, _: urls.upload_file(tmp_path / "file", url)):
        with pytest.raises(OSError, match="No space left"):
            write(str(tmp_path / "object"), b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_upload_removes_what_killed_ones_left_of_the_same_file(tmp_path: Path) -> None:
    forsaken, written, other = (tmp_path / f".{name}.part" for name in (f"map.{'0' * 12}", f"map.{'1' * 12}", "thesis"))
    for part in (forsaken, written, other):
        part.write_bytes(b"half")
    for part in (forsaken, other):
        os.utime(part, (0, 0))
    urls.upload_file(other, str(tmp_path / "map"))
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "map", written, other])


def test_what_killed_writers_left_on_a_disk_is_not_listed_and_can_be_removed(tmp_path: Path) -> None:
    parts = [tmp_path / f".7.json.{'0f' * 6}.part", tmp_path / "c" / f"0.{'0f' * 16}.partial"]  # our own, and Zarr's
    for path in (*parts, tmp_path / "c" / "0", tmp_path / "thesis.part"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"{")
    assert sorted(urls.list_objects(str(tmp_path))) == ["c/0", "thesis.part"]
    forsaken, written = (tmp_path / f".shared.{digit * 12}.part" for digit in "01")
    for path in (forsaken, written):
        path.write_bytes(b"{")
    os.utime(forsaken, (0, 0))
    urls.remove_parts(str(tmp_path), "shared")
    assert not [path for path in (*parts, forsaken) if path.exists()]
    assert written.exists()
    assert sorted(urls.list_objects(str(tmp_path))) == ["c/0", "thesis.part"]


def test_removing_a_tree(workspace: str) -> None:
    for name in ("a", "b/c", "b/d/e"):
        urls.write_bytes(urls.join(workspace, "tree", name), b"1")
    urls.write_bytes(urls.join(workspace, "tree-beside"), b"1")
    for _ in range(2):
        urls.remove_tree(urls.join(workspace, "tree"))
        assert list(urls.list_objects(workspace)) == ["tree-beside"]


def test_a_file_is_uploaded_whole(workspace: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("file") / "data"
    file.write_bytes(b"content")
    urls.upload_file(file, urls.join(workspace, "in", "data"))
    assert urls.read_bytes(urls.join(workspace, "in", "data")) == b"content"
    assert list(urls.list_objects(workspace)) == ["in/data"]


def test_urls_of_one_place_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert urls.absolute("x") == urls.absolute(f"file://{tmp_path}/x") == str(tmp_path / "x")
    assert urls.absolute("s3://bucket/key/") == "s3://bucket/key"
    assert urls.join("s3://bucket/", "/a/", "b") == "s3://bucket/a/b"


SIGNATURES = ["X-Amz-Credential=me&X-Amz-Signature=hunter2", "Expires=1&Signature=hunter2", "sv=1&sig=hunter2"]


@pytest.mark.parametrize("query", SIGNATURES)
def test_a_presigned_url_is_refused_and_not_said(query: str) -> None:
    with pytest.raises(InputError, match=r"^https://host/rows\?\*\*\* came with a secret"):
        urls.check_secret(f"https://host/rows?{query}")
    urls.check_secret("https://host/rows?versionId=3&design=1")
