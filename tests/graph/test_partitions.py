"""Partitions and what they are made with: sorted runs, rows gathered by id."""

from pathlib import Path

import numpy as np
import pytest

from pumascale.tasks.graph import partitions, plan
from pumascale.tasks.graph.runs import read_runs, write_run
from pumascale.tasks.parameters import GraphParameters
from pumascale.tasks.storage import arrays


def test_an_owner_reads_the_columns_that_it_asks_for(tmp_path: Path) -> None:
    run, owner = str(tmp_path / "run"), np.array([2, 0, -1, 2, 0])
    content = {"a": np.arange(5), "b": np.arange(10.0).reshape(5, 2), "c": np.arange(5, dtype=np.int8)}
    write_run(run, owner, 4, content)
    for owned, at in ((0, [1, 4]), (1, []), (2, [0, 3]), (3, [])):
        for names in (["a"], ["b"], ["c"], ["c", "b"], ["a", "b", "c"]):
            for name, read in zip(names, read_runs([run, run], owned, names), strict=True):
                np.testing.assert_array_equal(read, np.concatenate([content[name][at]] * 2))


def test_a_row_that_several_owners_read_is_given_once(tmp_path: Path) -> None:
    url, owner = str(tmp_path / "run"), np.array([[0, 1], [1, 2], [2, 0], [-1, 1]])
    content = {"rows": np.arange(4), "slot": np.tile(np.arange(2, dtype=np.int8), 4), "data": np.eye(4)}
    write_run(url, owner.ravel(), 4, content)
    for kind in range(4):
        rows, slot = np.nonzero(owner == kind)
        found = read_runs([url], kind, ("rows", "slot", "data"))
        for mine, expected in zip(found, (rows, slot, np.eye(4)[rows]), strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("most", [0, 2**20])
def test_rows_are_gathered_in_any_order_and_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(plan, "MOST_RANGE_BYTES", most)
    url, rows = str(tmp_path / "rows"), np.arange(60).reshape(20, 3)
    arrays.write_whole(url, rows)
    for ids in ([5, 3, 3, 19, 0], [7, 8, 9], [9, 8, 7], []):
        np.testing.assert_array_equal(plan.gather(url, np.array(ids, np.int64)), rows[np.array(ids, int)])


def test_a_skipped_row_is_no_row_of_zeros(tmp_path: Path) -> None:
    rows = np.ones((40, 4), np.float32)
    rows[3, 2] = np.nan
    arrays.write_whole(str(tmp_path / "rows"), rows)
    asked = GraphParameters(metric="wasserstein_1d", non_finite="skip", n_neighbors=5)
    made = plan.make_plan(str(tmp_path / "rows"), str(tmp_path / "graph"), asked, None, 1)
    plan.create_store(made)
    (task,) = plan.block_tasks(made)
    found = partitions.assign_block(task)
    assert (found["sizes"], found["n_bad"], found["first_bad"]) == ([39], 1, [3])
