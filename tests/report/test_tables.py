"""Tables: every figure once, readable, and no value breaks out of its cell."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumascale.tasks.report.tables import flatten, headline, quality_table, show, stage_table, with_unit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (None, "-"),
        (63666, "63,666"),
        (0.123456, "0.1235"),
        (1337.4, "1,337"),
        (float("nan"), "nan"),
        ([0.5, 1], "0.5, 1"),
        (list(range(9)), "0, 1, 2, 3, 4, 5, ..."),
        ("cosine", "cosine"),
    ],
)
def test_figures_are_shown_as_people_read_them(value: Any, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("seconds", 3.25, "3.25 s"),
        ("seconds.knn", 1200.4, "1,200 s"),
        ("peak_memory_of_worker", 512_300_000, "512.30 MB"),
        ("output_bytes", 2_480_000_000, "2.48 GB"),
        ("peak_memory", None, None),
        ("n_rows", 1000, 1000),
    ],
)
def test_bytes_and_seconds_have_their_unit(name: str, value: Any, text: Any) -> None:
    assert with_unit(name, value) == text


def test_a_stage_is_a_table_without_its_secrets() -> None:
    table = stage_table("build_graph", {"n_rows": 10, "seconds": {"knn": 1.5}, "token": "abc", "source": "s3://a/b"})
    assert table.splitlines() == [
        "### build_graph", "", "| figure | value |", "|---|---|", "| n_rows | 10 |", "| seconds.knn | 1.5 s |",
    ]  # fmt: skip


def test_the_headline_has_what_is_known() -> None:
    manifest = {"n_rows": 1797, "knn_recall": None, "seconds": 12.34}
    assert headline(manifest, "n_rows", "n_edges", "knn_recall", "seconds") == "rows 1,797 · seconds 12.34"


def test_quality_stands_side_by_side() -> None:
    quality = {"n_neighbors": 15, "trained": {"sample": 9, "label_accuracy": 0.5}, "held_out": {"sample": 3}}
    assert quality_table(quality).splitlines() == [
        "| figure | trained | held_out |", "|---|---|---|", "| sample | 9 | 3 |", "| label_accuracy | 0.5 | - |",
    ]  # fmt: skip


def test_quality_that_was_not_measured_is_said_so() -> None:
    assert quality_table({}).startswith("Not measured")


@given(st.text())
def test_no_value_breaks_out_of_its_cell(value: str) -> None:
    line = stage_table("stage", {"name": value}).split("|---|---|\n")[1]
    assert line.replace("\\|", "").count("|") == 3
    assert "\n" not in line


def test_nested_figures_are_joined_by_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}
