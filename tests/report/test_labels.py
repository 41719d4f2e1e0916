"""Labels as classes: sorted by size, named, few enough to show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pumascale.tasks.report.colors import GRAY
from pumascale.tasks.report.labels import read_classes

WHOLE: Any = {"write_empty_chunks": True}  # labels of 0 only are written too: a chunk that is not there is a lost one


def write(place: Path, values: Any, dtype: Any, **attributes: Any) -> str:
    array = zarr.create_array(
        str(place / "labels"), shape=(len(values),), dtype=dtype, attributes=attributes, config=WHOLE
    )
    array[:] = np.asarray(values, object if dtype is str else dtype)
    return str(place / "labels")


def test_the_largest_class_comes_first(tmp_path: Path) -> None:
    found = read_classes(write(tmp_path, [7, 3, 3, 9, 3, 9], "int16"), 6)
    assert found.names == ["3", "9", "7"]
    assert found.counts == [3, 2, 1]
    assert found.codes[:].tolist() == [2, 0, 0, 1, 0, 1]
    assert len(set(found.colors)) == 3


def test_numbers_are_named_by_the_attribute(tmp_path: Path) -> None:
    found = read_classes(write(tmp_path, [1, 1, 0, -1], "int8", classes=["admin", "games"]), 4)
    assert sorted(found.names) == ["-1", "admin", "games"]
    assert found.names[0] == "games"


def test_labels_may_be_words(tmp_path: Path) -> None:
    found = read_classes(write(tmp_path, ["x11", "añadido", "x11"], str), 3)
    assert (found.names, found.counts) == (["x11", "añadido"], [2, 1])


def test_without_labels_there_is_one_class() -> None:
    found = read_classes(None, 5)
    assert (found.codes[:].tolist(), found.names, found.counts) == ([0] * 5, ["rows"], [5])


def test_of_many_classes_the_small_ones_are_one(tmp_path: Path) -> None:
    values = np.concatenate([np.arange(500), np.repeat(np.arange(59), 3)])
    found = read_classes(write(tmp_path, values, "int32"), len(values))
    assert len(found.names) == len(found.colors) == 60
    assert (found.names[-1], found.counts[-1], found.colors[-1]) == ("441 others", 441, GRAY)
    assert np.bincount(found.codes[:]).tolist() == found.counts


def test_quantities_are_shown_as_ranges(tmp_path: Path) -> None:
    values = np.random.default_rng(0).permutation(1000) / 100.0
    values[:30] = np.nan
    found = read_classes(write(tmp_path, values, "float32"), 1000)
    assert found.counts == [97] * 10 + [30]
    assert (found.names[-1], found.colors[-1]) == ("none", GRAY)
    tops = [values[found.codes[:] == code].max() for code in range(10)]
    assert tops == sorted(tops)


def test_mostly_zeros(tmp_path: Path) -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)])
    found = read_classes(write(tmp_path, values, "float64"), 1000)
    assert sum(found.counts) == 1000
    assert np.bincount(found.codes[:], minlength=len(found.names)).tolist() == found.counts


@settings(deadline=None)  # of disks
@given(st.lists(st.integers(-5, 90), min_size=1, max_size=400))
def test_every_row_keeps_its_name(tmp_path_factory: pytest.TempPathFactory, values: list[int]) -> None:
    found = read_classes(write(tmp_path_factory.mktemp("labels"), values, "int64"), len(values))
    named = [found.names[code] for code in found.codes[:]]
    assert all(name == str(value) or name.endswith("others") for name, value in zip(named, values, strict=True))
    assert found.counts == np.bincount(found.codes[:]).tolist()
    assert sum(found.counts) == len(values)
