"""Draws by lots: uniform, and hardly other ones after rows were appended."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pumascale.tasks.training import draws
from pumascale.tasks.training.draws import draw
from pumascale.tasks.training.medoids import choose_prototypes
from pumascale.tasks.training.splits import hold_out


def everyone(n_rows: int) -> NDArray[np.bool_]:
    return np.ones(n_rows, bool)


def kept(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """The share of the rows drawn before that are drawn again."""
    return float(np.isin(before, after).mean())


def test_every_row_is_drawn_as_often_as_another() -> None:
    drawn = np.bincount(np.concatenate([draw(everyone(50), 10, seed, draws.HELD_OUT) for seed in range(2000)]))
    assert len(drawn) == 50
    assert np.abs(drawn - 400).max() < 5 * np.sqrt(400 * 0.8)  # a binomial's deviation


def test_appended_rows_take_no_more_than_their_share() -> None:
    # Held out at one rate, only chance takes some away; as many of more rows, and the new ones take their share.
    assert kept(hold_out(10_000, 0.1, 0), hold_out(11_000, 0.1, 0)) > 0.95
    assert kept(hold_out(250_000, 0.1, 0), hold_out(275_000, 0.1, 0)) == pytest.approx(10 / 11, abs=0.01)


def test_who_else_takes_part_changes_no_lot() -> None:
    some = np.random.default_rng(0).random(5000) < 0.9
    drawn = draw(everyone(5000), 500, 3, draws.SAMPLE)
    again = draw(some, 500, 3, draws.SAMPLE)
    assert some[again].all()
    assert set(drawn[some[drawn]]) < set(again)


def test_the_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    some = np.random.default_rng(0).random(1000) < 0.5
    whole = draw(some, 100, 7, draws.SAMPLE)
    monkeypatch.setattr(draws, "BLOCK_ROWS", 64)
    np.testing.assert_array_equal(draw(some, 100, 7, draws.SAMPLE), whole)


def test_seed_and_purpose_draw_others_and_few_rows_are_all_drawn() -> None:
    first = draw(everyone(1000), 100, 0, draws.SAMPLE)
    for other in (draw(everyone(1000), 100, 1, draws.SAMPLE), draw(everyone(1000), 100, 0, draws.HELD_OUT)):
        assert kept(first, other) < 0.3
    some = everyone(10) & (np.arange(10) % 2 == 0)
    np.testing.assert_array_equal(draw(some, 100, 0, draws.SAMPLE), [0, 2, 4, 6, 8])
    assert len(draw(everyone(10), 0, 0, draws.HELD_OUT)) == 0


def test_most_prototypes_stay_when_rows_are_appended() -> None:
    rows = np.random.default_rng(0).normal(size=(2200, 8)).astype(np.float32)
    before = choose_prototypes(rows[:2000], np.arange(2000), 500, 0)
    after = choose_prototypes(rows, np.arange(2200), 550, 0)
    assert kept(before, after) > 0.7  # .3 when all are drawn anew


def test_prototypes_of_an_earlier_model_stay_where_they_stand_for_their_clusters() -> None:
    rows = np.random.default_rng(0).normal(size=(2200, 8)).astype(np.float32)
    before = choose_prototypes(rows[:2000], np.arange(2000), 500, 0)
    drawn = choose_prototypes(rows, np.arange(2200), 550, 0)
    after = choose_prototypes(rows, np.arange(2200), 550, 0, before)
    assert kept(before, after) > kept(before, drawn) + 0.05
    assert 500 < len(after) <= 550
    assert (after >= 2000).sum() > 20


def test_appended_rows_unlike_all_others_get_prototypes_beside_earlier_ones() -> None:
    rows = np.random.default_rng(0).normal(size=(2200, 8)).astype(np.float32)
    rows[2000:] += 50
    before = choose_prototypes(rows[:2000], np.arange(2000), 500, 0)
    after = choose_prototypes(rows, np.arange(2200), 500, 0, before)  # as many as before: some give way
    assert 30 < (after >= 2000).sum() < 70
