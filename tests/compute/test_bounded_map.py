"""The bounded map: everything once, bounded, in completion order, through dying workers and failing tasks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from pumascale.tasks.compute import bounded_map as bounded_map_module
from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.cluster import open_client
from pumascale.tasks.parameters import ComputeParameters
from pumascale.tasks.storage.errors import InputError
from tests.compute import jobs


def test_2000_tasks_never_more_than_10_ahead(client: Client) -> None:
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for value in range(2000):
            pulled += 1
            yield value

    results = []
    for result in bounded_map(client, jobs.square, items(), in_flight=10):
        results.append(result)
        assert pulled - len(results) < 10
    assert sorted(results) == [value * value for value in range(2000)]


@pytest.mark.parametrize("n", [0, 1, 100])
def test_any_number_of_items(client: Client, n: int) -> None:
    assert sorted(bounded_map(client, jobs.square, range(n))) == [value * value for value in range(n)]


def test_equal_items_are_tasks_of_their_own(client: Client) -> None:
    assert list(bounded_map(client, jobs.square, [3] * 20)) == [9] * 20


def test_results_come_as_they_complete(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    results = bounded_map(client, jobs.wait_for, [str(gate), "", ""], in_flight=3)
    assert [next(results), next(results)] == ["", ""]
    gate.touch()
    assert next(results) == str(gate)


def test_a_killed_worker_repeats_its_task(tmp_path: Path) -> None:
    marks = [str(tmp_path / "first"), str(tmp_path / "second")]
    items = [*[""] * 20, marks[0], *[""] * 20, marks[1]]
    with open_client(ComputeParameters(n_workers=2)) as client:
        assert sorted(bounded_map(client, jobs.die_once, items)) == sorted(items)
        with pytest.raises(InputError, match="ended several worker processes"):
            list(bounded_map(client, jobs.die, [1]))


def test_a_cluster_that_shrinks_gets_no_more_until_few_enough_are_in_flight(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([60])
    monkeypatch.setattr(bounded_map_module, "_enough", lambda client: next(sizes, 4))
    assert sorted(bounded_map(client, jobs.square, range(200))) == [value * value for value in range(200)]


def test_an_exception_arrives_and_cancels_the_rest(client: Client, tmp_path: Path) -> None:
    items = [(number, str(tmp_path)) for number in range(1000)]
    with pytest.raises(InputError, match="item 0 is bad"):
        list(bounded_map(client, jobs.fail_at_zero, items))
    # What was in flight may have run on, the rest was never sent.
    list(bounded_map(client, jobs.square, range(50)))
    assert len(list(tmp_path.iterdir())) < 50


def test_a_consumer_that_stops_cancels_what_is_in_flight(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    results = bounded_map(client, jobs.wait_for, ["", *[str(gate)] * 50], in_flight=20)
    next(results)
    results.close()  # type: ignore[attr-defined]
    gate.touch()
    assert list(bounded_map(client, jobs.square, [2])) == [4]
