"""Held-out rows leave training with all their edges."""

import numpy as np

from pumascale.tasks.training.sampling import Edges
from pumascale.tasks.training.splits import draw_validation, hold_out, mask, split_edges


def edges(n: int = 3000, n_rows: int = 200) -> Edges:
    generator = np.random.default_rng(0)
    head, tail = generator.integers(0, n_rows, (2, n))
    return Edges(head, tail, generator.random(n).astype(np.float32))


def test_no_training_edge_touches_a_held_out_row() -> None:
    held_out = hold_out(200, 0.1, 7)
    split = split_edges(edges(), mask(held_out, 200))
    assert len(held_out) == 20
    assert not np.isin(np.r_[split.training.head, split.training.tail], held_out).any()
    assert np.isin(split.validation.head, held_out).all()
    assert not np.isin(split.validation.tail, held_out).any()


def test_every_edge_is_trained_or_crossing_or_between_held_out_rows() -> None:
    held_out = hold_out(200, 0.3, 7)
    both = np.isin(edges().head, held_out) & np.isin(edges().tail, held_out)
    split = split_edges(edges(), mask(held_out, 200))
    assert len(split.training) + len(split.validation) + both.sum() == 3000


def test_the_held_out_rows_are_capped_and_seeded() -> None:
    assert len(hold_out(1_000_000, 0.5, 0)) == 20_000
    assert (hold_out(1000, 0.1, 1) == hold_out(1000, 0.1, 1)).all()
    assert (hold_out(1000, 0.1, 1) != hold_out(1000, 0.1, 2)).any()


def test_validation_edges_come_in_whole_batches_and_bounded_memory() -> None:
    assert len(draw_validation(edges(), 4, 1000, 0)) == 6000
    assert len(draw_validation(edges(), 2**20, 32, 0)) == 128
    assert len(draw_validation(edges(100), 4, 1000, 0)) == 1000
