"""Storage through a store that fails in every way we know: the result is right, or the error is clear."""

from collections.abc import Callable

import numpy as np
import pytest
from botocore.exceptions import BotoCoreError
from numpy.typing import NDArray
from s3fs import S3FileSystem

from pumascale.tasks.embedding.encode import encode
from pumascale.tasks.storage import arrays, manifests, probes, sources, urls
from tests.s3.fixtures import changed_environment
from tests.s3.proxy import Fault, Kind, Proxy

FAULTS: dict[str, Callable[[], Fault]] = {
    "500 six times in a row": lambda: Fault("500", times=6),
    "503 burst": lambda: Fault("503", times=6),
    "resets": lambda: Fault("reset", times=4),
    "torn uploads": lambda: Fault("torn_upload", method="PUT", times=3),
    "truncated bodies": lambda: Fault("truncate", method="GET", times=3),
    "slow answers": lambda: Fault("slow", times=4),
    "lost answers": lambda: Fault("drop_response", method="PUT", times=3),
}


@pytest.mark.parametrize("name", FAULTS)
def test_objects_survive(name: str, s3: str, proxy: Proxy) -> None:
    data = bytes(range(256)) * 1000
    proxy.faults.append(FAULTS[name]())
    urls.write_bytes(f"{s3}/object", data)
    assert urls.read_bytes(f"{s3}/object") == data
    assert urls.list_objects(s3)["object"].size == len(data)
    assert proxy.faults[0].n_done > 0


@pytest.mark.parametrize("name", FAULTS)
def test_arrays_survive(name: str, s3: str, proxy: Proxy) -> None:
    values = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)
    proxy.faults.append(FAULTS[name]())
    arrays.create_array(f"{s3}/array", shape=values.shape, dtype=values.dtype, shard_rows=1000)[:] = values
    np.testing.assert_array_equal(arrays.read_rows(arrays.open_array(f"{s3}/array"), 0, 4000), values)
    assert proxy.faults[0].n_done > 0


@pytest.mark.parametrize("kind", ["drop_response", "reset", "500", "409"])
def test_a_commit_whose_answer_is_lost_is_no_conflict(kind: Kind, s3: str, proxy: Proxy) -> None:
    fault = proxy.add(kind, method="PUT", path="manifest.json", times=2)
    committed = manifests.commit(f"{s3}/place", {"rows": 3})
    assert fault.n_done == 2
    assert committed["rows"] == 3
    assert manifests.read_manifest(f"{s3}/place") == committed
    assert manifests.commit(f"{s3}/place", {"rows": 4}) == committed


def project(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows[:, :2] + rows[:, 2:4]


def run_encode(s3: str) -> dict[str, object]:
    return encode(f"{s3}/rows", project, f"{s3}/map", row_shape=(16,), out_shape=(2,), batch_size=1000)


@pytest.fixture
def rows(s3: str) -> NDArray[np.float32]:
    """24,000 stored rows: twelve shards of the map."""
    values = np.random.default_rng(0).normal(size=(24_000, 16)).astype(np.float32)
    arrays.create_array(f"{s3}/rows", shape=values.shape, dtype=values.dtype, shard_rows=2000)[:] = values
    return values


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumascale.tasks.storage.arrays.CHUNK_BYTES", 2**13)
    monkeypatch.setattr("pumascale.tasks.embedding.blocks.MOST_SHARD_ROWS", 2048)
    monkeypatch.setattr("pumascale.tasks.storage.chunk_objects.BLOCK_BYTES", 2**17)


@pytest.mark.long
@pytest.mark.usefixtures("_small_shards")
def test_an_embedding_survives_everything_at_once(s3: str, rows: NDArray[np.float32], proxy: Proxy) -> None:
    places: dict[Kind, str] = {
        "reset": "/rows/c/",
        "truncate": "/rows/c/",
        "503": "/map/zarr.json",
        "500": "/receipts/",
    }
    uploads: dict[Kind, str] = {"drop_response": "/map/c/", "torn_upload": "/map/c/"}
    for kind, path in (places | uploads).items():
        proxy.add(kind, path=path, method="PUT" if kind in uploads else "", times=3)
    assert run_encode(s3)["n_shards"] == 12
    assert [fault.n_done for fault in proxy.faults] == [3] * 6
    proxy.faults.clear()
    np.testing.assert_array_equal(arrays.open_array(f"{s3}/map")[:], project(rows))


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.long)])
def test_an_outage_is_waited_out(s3: str, rows: NDArray[np.float32], proxy: Proxy, seconds: int) -> None:
    outage = None

    def encoder(block: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal outage
        outage = outage or proxy.outage_for(seconds)
        return project(block)

    encode(f"{s3}/rows", encoder, f"{s3}/map", row_shape=(16,), out_shape=(2,), batch_size=1000)
    assert outage is not None
    outage.join()
    np.testing.assert_array_equal(arrays.open_array(f"{s3}/map")[:], project(rows))


def test_a_question_whose_answer_is_lost_is_no_store_that_overwrites(s3: str, proxy: Proxy) -> None:
    fault = proxy.add("drop_response", method="PUT", path=probes.PROBE, times=2)
    probes.check_workspace(f"{s3}/work")
    assert fault.n_done == 2
    assert urls.list_objects(s3) == {}


def test_an_outage_is_waited_out_where_a_run_opens_its_source_again(
    s3: str, rows: NDArray[np.float32], proxy: Proxy
) -> None:
    assert sources.open_source(f"{s3}/rows").shape == rows.shape
    outage = proxy.outage_for(8)
    assert sources.open_source(f"{s3}/rows").shape == rows.shape
    outage.join()


@pytest.mark.usefixtures("_small_shards")
def test_an_outage_that_lasts_is_an_error_to_go_on_from(
    s3: str, rows: NDArray[np.float32], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3FileSystem, "retries", 2)
    fault = proxy.add("reset", path="/map/c/7/")
    with pytest.raises((OSError, BotoCoreError)):
        run_encode(s3)
    assert fault.n_done > 0
    proxy.faults.clear()
    counts = run_encode(s3)
    assert counts["n_shards_before"] == 7
    np.testing.assert_array_equal(arrays.open_array(f"{s3}/map")[:], project(rows))


@pytest.mark.usefixtures("_small_shards")
def test_withdrawn_credentials_are_a_clear_error(s3: str, rows: NDArray[np.float32]) -> None:
    with changed_environment({"AWS_SECRET_ACCESS_KEY": "withdrawn"}), pytest.raises((ValueError, PermissionError)) as e:
        run_encode(s3)
    assert "credentials" in str(e.value) or "SignatureDoesNotMatch" in str(e.value)
    assert run_encode(s3)["n_rows"] == len(rows)


@pytest.mark.usefixtures("_small_shards")
def test_credentials_withdrawn_in_the_middle_are_an_error_to_go_on_from(
    s3: str, rows: NDArray[np.float32], proxy: Proxy
) -> None:
    fault = proxy.add("403", path="/map/c/7/")
    with pytest.raises(PermissionError):
        run_encode(s3)
    assert fault.n_done > 0
    proxy.faults.clear()
    assert run_encode(s3)["n_shards_before"] == 7
    np.testing.assert_array_equal(arrays.open_array(f"{s3}/map")[:], project(rows))
