"""Streamed training: the same edges as often, as good a map, killed and resumed, within the memory asked for."""

import math
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from pumascale.tasks.storage import arrays, chunk_objects, graph_store, manifests
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.storage.graph_store import Partition
from pumascale.tasks.training import artefact
from pumascale.tasks.training.checkpoints import load_checkpoint
from pumascale.tasks.training.fit import fit
from pumascale.tasks.training.parts import Part
from pumascale.tasks.training.problem import Problem, read_problem, resident_rows
from pumascale.tasks.training.sampling import Edges, joined
from pumascale.tasks.training.stream import DRAWS_PER_STAY, Stream, is_resident, projected_memory
from pumascale.tasks.training.window import Window
from tests.training.conftest import Stored, short

N_PARTITIONS, BATCH_SIZE = 12, 32


def write_partitions(stored: Stored, rows: NDArray[np.float32], place: Path) -> Stored:
    """The same graph in partitions of unlike sizes, each with its rows."""
    edges = Edges(*graph_store.read_edges(stored.graph))
    owner = np.minimum(edges.tail // 50, N_PARTITIONS - 1)
    graph = str(place / "graph")
    for partition in range(N_PARTITIONS):
        part = edges.at(owner == partition)
        own, ends = np.unique(part.tail), np.unique(part.head)
        ids = np.append(own, np.setdiff1d(ends, own))  # guests last, below the others here
        order = np.argsort(ids)
        local = (order[np.searchsorted(ids, end, sorter=order)].astype(np.int32) for end in (part.head, part.tail))
        graph_store.write_partition(graph, partition, Partition(ids, *local, part.weight))
        arrays.write_whole(graph_store.partition_url(graph, partition, "data"), rows[ids])
    counts = {"n_rows": len(rows), "n_partitions": N_PARTITIONS, "heaviest": float(edges.weight.max())}
    manifests.commit(graph, counts | {"metric": "euclidean"})
    return Stored(stored.source, graph)


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory, stored: Stored, digits: NDArray[np.float32]) -> Stored:
    return write_partitions(stored, digits, tmp_path_factory.mktemp("parted"))


@pytest.fixture(scope="module")
def problem(parted: Stored) -> Problem:
    return read_problem(parted.source, parted.graph, short(batch_size=BATCH_SIZE), math.inf)


def limited(problem: Problem, share: float) -> Problem:
    """The problem with memory for that share of all that its partitions hold."""
    parts = Stream(replace(problem, memory_limit=1e12), BATCH_SIZE, 0).parts
    whole = projected_memory(sum(part.n_rows for part in parts), sum(part.n_edges for part in parts), problem)
    return replace(problem, memory_limit=share * whole)


def test_every_edge_is_drawn_as_often_as_if_all_were_resident(problem: Problem) -> None:
    stream, expected = Stream(limited(problem, 0.3), BATCH_SIZE, 0), np.zeros((problem.n_rows, problem.n_rows))
    n_reports = 100 // stream.n_passes
    for edges in problem.edges.training():
        expected[edges.head, edges.tail] = expected[edges.tail, edges.head] = edges.weight
    is_edge, drawn = expected > 0, np.zeros_like(expected)
    window = Window(*stream.capacity, problem.row_shape, problem.row_dtype.name, seed=0)
    per_step = math.ceil(60 * is_edge.sum() / n_reports / problem.steps_per_report)
    for report in range(n_reports):
        windows = stream.deal(report)
        for parts, n_steps in zip(
            windows, np.diff(stream.ends(report, windows, problem.steps_per_report), prepend=0), strict=True
        ):
            window.put(window.prepare(*stream.read(parts)))
            ids = np.concatenate([stream.stored.edges(part)[0] for part in parts])
            head, tail = (ids[keras.ops.convert_to_numpy(ends)] for ends in window.draw(int(n_steps) * per_step))
            np.add.at(drawn, (head, tail), 1)
    expected *= drawn.sum() / expected.sum()
    assert drawn[~is_edge].sum() == 0
    often = is_edge & (expected > 5)
    # The mean of (seen - expected)^2 / expected is 1 where nothing but chance is between them.
    assert ((drawn - expected)[often] ** 2 / expected[often]).mean() == pytest.approx(1, abs=0.15)


def test_a_pass_has_every_edge_once_in_windows_that_fit(problem: Problem) -> None:
    stream, known = Stream(limited(problem, 0.3), BATCH_SIZE, 0), joined(list(problem.edges.training()))
    for report in range(3):
        windows = stream.deal(report)
        per_pass = len(windows) // stream.n_passes
        assert per_pass >= 4
        dealt = [pairs(stream, window) for window in windows]
        assert max(map(len, dealt)) <= stream.capacity[1]
        assert max(sum(part.n_rows for part in window) for window in windows) <= stream.capacity[0]
        found = np.concatenate(dealt)
        once = np.sort(known.head * problem.n_rows + known.tail)
        np.testing.assert_array_equal(np.sort(found), np.repeat(once, stream.n_passes))
    assert stream.deal(0) == stream.deal(0) != stream.deal(1)


def pairs(stream: Stream, window: list[Part]) -> NDArray[np.int64]:
    """The edges of a window, head and tail in one number."""
    found = [(ids[edges.head], ids[edges.tail]) for ids, edges in map(stream.stored.edges, window)]
    return np.concatenate([head * stream.problem.n_rows + tail for head, tail in found])


def test_a_window_is_from_everywhere_and_does_not_stay(problem: Problem) -> None:
    stream = Stream(limited(problem, 0.3), BATCH_SIZE, 0)
    for window in stream.deal(0)[:3]:
        owners = np.minimum(pairs(stream, window) % problem.n_rows // 50, N_PARTITIONS - 1)
        assert len(np.unique(owners)) >= 0.8 * N_PARTITIONS
    draws = problem.steps_per_report * BATCH_SIZE / (stream.n_passes * problem.n_training_edges)
    assert draws == pytest.approx(DRAWS_PER_STAY, rel=0.3)


def test_a_window_has_the_rows_of_its_edges(problem: Problem, digits: NDArray[np.float32]) -> None:
    stream = Stream(limited(problem, 0.3), BATCH_SIZE, 0)
    window = stream.deal(0)[0]
    rows, edges, _ = stream.read(window)
    head, tail = np.divmod(pairs(stream, window), problem.n_rows)
    np.testing.assert_array_equal(rows[edges.head], digits[head])
    np.testing.assert_array_equal(rows[edges.tail], digits[tail])


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """12,000 rows of 64 features, edges along a ring in each partition."""
    place, generator = tmp_path_factory.mktemp("larger"), np.random.default_rng(0)
    source, graph, ids = str(place / "source"), str(place / "graph"), np.arange(1000)
    rows = generator.normal(size=(12_000, 64)).astype(np.float32)
    arrays.write_whole(source, rows)
    head = np.repeat(ids, 10).astype(np.int32)
    for partition in range(N_PARTITIONS):
        tail = ((head + generator.integers(1, 30, len(head))) % 1000).astype(np.int32)
        content = Partition(1000 * partition + ids, head, tail, generator.uniform(0.5, 1, len(head)).astype(np.float32))
        graph_store.write_partition(graph, partition, content)
        data = graph_store.partition_url(graph, partition, "data")
        arrays.write_whole(data, rows[1000 * partition : 1000 * (partition + 1)])
    counts = {"n_rows": len(rows), "n_partitions": N_PARTITIONS, "heaviest": 1.0}
    manifests.commit(graph, counts | {"metric": "euclidean"})
    return read_problem(source, graph, short(), math.inf)


def loading(small: Problem) -> int:
    """Bytes that a stream takes at most: while it is made, and for the windows that load."""
    tracemalloc.start()
    stream = Stream(small, BATCH_SIZE, 0)
    window = Window(*stream.capacity, small.row_shape, small.row_dtype.name, seed=0)
    for parts in stream.deal(0)[:5]:
        window.prepare(*stream.read(parts))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # What NumPy does not hold is the window before, on the device.
    return peak + sum(math.prod(table.shape) * np.dtype(table.dtype).itemsize for table in window.tables)


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_windows_take_no_more_memory_than_was_projected(larger: Problem, share: float) -> None:
    small = limited(larger, share)
    # One of some, as the threads of other tests allocate too, now and then.
    assert any(loading(small) <= small.memory_limit for _ in range(5))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_rows_of_small_numbers_stay_small_in_memory_and_reach_the_network_unchanged(
    dtype: str, digits: NDArray[np.float32], parted: Stored, tmp_path: Path
) -> None:
    source, graph = str(tmp_path / "source"), parted.graph
    arrays.create_array(source, shape=digits.shape, dtype=dtype)[:] = digits
    stored = read_problem(source, graph, short(), math.inf)
    assert stored.row_dtype == (np.float32 if dtype == "float64" else dtype)
    window = Window(len(digits), 1, stored.row_shape, stored.row_dtype.name, seed=0)
    window.put(window.prepare(resident_rows(stored), Edges(np.zeros(1, int), np.ones(1, int), np.ones(1, np.float32))))
    ids = np.arange(len(digits))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(window.gather(ids)), digits)


def test_no_chunk_of_resident_rows_is_read_twice(
    digits: NDArray[np.float32], parted: Stored, tmp_path: Path, chunk_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "SHARD_BYTES", 2**12)
    monkeypatch.setattr(chunk_objects, "BLOCK_BYTES", 2**12)
    source, chunks = str(tmp_path / "source"), (250, digits.shape[1])
    zarr.create_array(source, shape=digits.shape, chunks=chunks, dtype=digits.dtype)[:] = digits
    stored = read_problem(source, parted.graph, short(), math.inf)
    chunk_reads.clear()
    np.testing.assert_array_equal(resident_rows(stored), digits)
    assert [path[-3:] for path in chunk_reads] == ["0/0", "1/0", "2/0"]


def test_a_limit_too_small_for_one_partition_is_refused_with_what_would_do(problem: Problem, stored: Stored) -> None:
    with pytest.raises(InputError, match=r"allows 0 MiB, .* needs 1 MiB for the largest of 12 partitions"):
        Stream(limited(problem, 0.05), BATCH_SIZE, 0)
    whole = read_problem(stored.source, stored.graph, short(), 1000.0)
    assert not is_resident(whole)
    with pytest.raises(InputError, match="largest of 1 partitions"):
        Stream(whole, BATCH_SIZE, 0)


def test_a_full_disk_is_named_with_what_would_do(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda prefix: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with pytest.raises(InputError, match=r"is full.* TMPDIR to a larger disk"):
        Stream(limited(problem, 0.4), BATCH_SIZE, 0)


@pytest.fixture(scope="module")
def streamed(
    parted: Stored, problem: Problem, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], float]:
    place, limit = tmp_path_factory.mktemp("streamed"), limited(problem, 0.3).memory_limit
    return place, fit(parted.source, parted.graph, str(place), short(), memory_limit=limit), limit


def test_the_map_is_as_good_as_a_resident_one(
    streamed: tuple[Path, dict[str, Any], float], trained: tuple[str, dict[str, Any]], digits: NDArray[np.float32]
) -> None:
    place, manifest, _ = streamed
    assert manifest["streamed"]
    assert not trained[1]["streamed"]
    here, there = (artefact.load_encoder(str(url)).predict(digits, verbose=0) for url in (place, trained[0]))
    assert trustworthiness(digits, here, n_neighbors=15) > trustworthiness(digits, there, n_neighbors=15) - 0.04
    assert manifest["best_val_loss"] < 1.05 * trained[1]["best_val_loss"]


def test_a_broken_training_goes_on_within_its_windows(
    streamed: tuple[Path, dict[str, Any], float], parted: Stored, tmp_path: Path
) -> None:
    place, _, limit = streamed
    broken = short(checkpoint_minutes=0, callbacks=["tests.training.brought:BreakInSecondReport"])
    with pytest.raises(RuntimeError, match="broken"):
        fit(parted.source, parted.graph, str(tmp_path), broken, memory_limit=limit)
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint is not None
    assert (checkpoint.report, checkpoint.step > 0) == (1, True)
    fit(parted.source, parted.graph, str(tmp_path), short(), memory_limit=limit)
    weights = (artefact.load_encoder(str(url)).get_weights() for url in (place, tmp_path))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_places_of_rows_are_streamed_too(parted: Stored, tmp_path: Path) -> None:
    asked = short(parametric_embedding=False)
    manifest = fit(parted.source, parted.graph, str(tmp_path), asked, memory_limit=150_000)
    assert manifest["streamed"]
    assert manifest["history"]["loss"][-1] < manifest["history"]["loss"][0]
