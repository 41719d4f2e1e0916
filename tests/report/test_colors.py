"""Colours: distinct for people, legible on white and on black."""

import numpy as np
import pytest

from pumascale.tasks.report.colors import MOST, class_colors, oklab, ordered_colors, rgb
from pumascale.tasks.report.map import BACKGROUNDS


@pytest.mark.parametrize(("n", "least"), [(8, 0.11), (20, 0.11), (60, 0.065)])
def test_colors_are_far_apart(n: int, least: float) -> None:
    """0.02 is what people just notice in OKLab."""
    places = np.array([oklab(rgb(color)) for color in class_colors(n)])
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(n)
    assert len(set(class_colors(n))) == n
    assert distances.min() > least


@pytest.mark.parametrize("colors", [class_colors(MOST), ordered_colors(10)])
@pytest.mark.parametrize("theme", BACKGROUNDS)
def test_colors_stand_out_from_the_paper(colors: list[str], theme: str) -> None:
    paper = oklab(rgb(BACKGROUNDS[theme]))
    assert min(np.linalg.norm(oklab(rgb(color)) - paper) for color in colors) > 0.17


def test_more_classes_keep_the_colors_of_fewer() -> None:
    assert class_colors(30)[:12] == class_colors(12)


def test_ranges_grow_lighter() -> None:
    lightness = [oklab(rgb(color))[0] for color in ordered_colors(10)]
    assert lightness == sorted(lightness)


def test_oklab_is_the_published_one() -> None:
    """White is lightness 1 without colour; red as in Ottosson's table, within the simpler gamma used here."""
    np.testing.assert_allclose(oklab(np.array([255, 255, 255])), [1, 0, 0], atol=2e-3)
    np.testing.assert_allclose(oklab(np.array([255, 0, 0])), [0.628, 0.225, 0.126], atol=2e-3)
