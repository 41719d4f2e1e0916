"""The loss curves: a picture for any history, readable on white and on black."""

import io

import numpy as np
import pytest
from PIL import Image

from pumascale.tasks.report.colors import BASE, rgb
from pumascale.tasks.report.loss import draw_loss

HISTORY = {
    "attraction": [0.3, 0.2, 0.15],
    "loss": [0.4, 0.3, 0.25],
    "val_loss": [0.5, 0.3, 0.4],
    "val_attraction": [0.3, 0.2, 0.3],
    "learning_rate": [1e-3, 1e-3, 1e-3],
}


def opaque_colors(png: bytes) -> set[tuple[int, ...]]:
    picture = np.asarray(Image.open(io.BytesIO(png)))
    return {tuple(pixel[:3].tolist()) for pixel in picture.reshape(-1, 4) if pixel[3] == 255}


def test_each_term_has_a_color_and_the_learning_rate_none() -> None:
    drawn = opaque_colors(draw_loss(HISTORY))
    assert [tuple(rgb(color).tolist()) in drawn for color in BASE[:3]] == [True, True, False]


def test_terms_of_held_out_rows_and_the_report_that_is_kept_are_drawn() -> None:
    whole = draw_loss(HISTORY, 1)
    for name in ("val_loss", "val_attraction"):
        assert draw_loss({other: HISTORY[other] for other in HISTORY if other != name}, 1) != whole
    assert draw_loss(HISTORY) != whole != draw_loss(HISTORY, 2)


def test_the_paper_is_transparent() -> None:
    picture = np.asarray(Image.open(io.BytesIO(draw_loss(HISTORY))))
    assert picture[0, 0, 3] == 0
    assert (picture[..., 3] == 0).mean() > 0.5


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"loss": [1.0]}, {"loss": [float("nan"), 1.0]}])
def test_short_histories(history: dict[str, list[float]]) -> None:
    assert draw_loss(history).startswith(b"\x89PNG")
