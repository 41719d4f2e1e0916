"""Rows appended, rows changed in place, and an array that became another, by the records of its chunk objects."""

from typing import Any

import numpy as np
import pytest
import zarr

from pumascale.tasks.storage import changes, urls
from pumascale.tasks.storage.errors import InputError

LAYOUTS: list[dict[str, Any]] = [
    {"chunks": (100, 4)},
    {"chunks": (100, 2)},  # two objects per row
    {"chunks": (50, 4), "shards": (100, 4)},
    {"chunks": (100, 4), "zarr_format": 2},
]


def create(workspace: str, n_rows: int = 250, **layout: Any) -> tuple[str, zarr.Array[Any]]:
    url = f"{workspace}/rows"
    options = urls.storage_options(url) or None
    layout = {"chunks": (100, 4), "dtype": "f4"} | layout
    array = zarr.create_array(url, shape=(n_rows, 4), storage_options=options, **layout)
    array[:] = np.random.default_rng(0).normal(size=(n_rows, 4))
    return url, array


@pytest.mark.parametrize("layout", LAYOUTS)
def test_appended_rows_leave_the_whole_chunks_before_them_unchanged(workspace: str, layout: dict[str, Any]) -> None:
    url, array = create(workspace, **layout)
    record = changes.record_source(url)
    assert changes.unchanged_rows(url, record) == 200
    array.append(np.ones((130, 4), np.float32))  # rewrites the chunk of rows 200 to 300
    assert changes.unchanged_rows(url, record) == 200
    assert changes.unchanged_rows(url, changes.record_source(url)) == 300


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_chunk_that_was_written_again_is_named_by_its_rows(workspace: str, layout: dict[str, Any]) -> None:
    url, array = create(workspace, **layout)
    record = changes.record_source(url)
    array[150, 3] = 7
    with pytest.raises(InputError, match=r"the chunks of rows 100 to 200 were written again .* --force"):
        changes.unchanged_rows(url, record)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({"n_rows": 240}, "it has 240 rows, and 250 are embedded"),
        ({"dtype": "i4"}, "its dtype was float32 and is int32 now"),
        ({"chunks": (50, 4)}, "its rows per chunk object was 100 and is 50 now"),
    ],
)
def test_an_array_that_became_another_is_refused(tmp_path: Any, after: dict[str, Any], reason: str) -> None:
    url, _ = create(str(tmp_path))
    record = changes.record_source(url)
    urls.remove_tree(url)
    create(str(tmp_path), **after)
    with pytest.raises(InputError, match=reason):
        changes.unchanged_rows(url, record)


def test_a_record_stays_small(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_DIGESTS", 3)
    url, array = create(str(tmp_path), n_rows=1050)
    record = changes.record_source(url)
    assert (record["step"], len(record["digests"])) == (400, 2)
    assert changes.unchanged_rows(url, record) == 800
    array[500] = 1
    with pytest.raises(InputError, match="rows 400 to 800"):
        changes.unchanged_rows(url, record)


def test_a_record_is_kept_beside_the_map(workspace: str) -> None:
    url, _ = create(workspace)
    assert changes.read_record(f"{workspace}/map") is None
    changes.write_record(f"{workspace}/map", changes.record_source(url))
    assert changes.read_record(f"{workspace}/map") == changes.record_source(url)
