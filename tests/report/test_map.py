"""The map's picture: each class where it lies, in its colour, at its size, whatever the number of rows."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pumascale.tasks.report import map as room_map
from pumascale.tasks.report import pixels as room_pixels
from pumascale.tasks.report import rows as room_rows
from pumascale.tasks.report.colors import rgb
from pumascale.tasks.report.labels import Classes, read_classes
from pumascale.tasks.report.map import BACKGROUNDS, draw_map, shade
from pumascale.tasks.report.names import name_places
from pumascale.tasks.report.pixels import SIZE, count_pixels, view
from pumascale.tasks.report.rows import Rows
from tests.report.conftest import classes_of, pixels


def draw(points: NDArray[np.float32], classes: Classes, theme: str = "light") -> bytes:
    rows = Rows(points, classes)
    return draw_map(rows, count_pixels(rows), theme)


def shaded(points: NDArray[np.float32], classes: Classes, theme: str = "light") -> NDArray[np.uint8]:
    return shade(count_pixels(Rows(points, classes)), theme)


def coloured(picture: NDArray[np.uint8], color: str) -> NDArray[np.float64]:
    """Where (line, column, as shares of the picture) the pixels lie that are nearest to the middle of this colour's."""
    close = np.abs(picture.astype(int) - rgb(color)).max(axis=-1) < 60
    return np.argwhere(close).mean(axis=0) / close.shape


@pytest.mark.parametrize("most", [200_000, 0], ids=["numpy", "datashader"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_class_is_drawn_where_it_lies(
    points: NDArray[np.float32], classes: Classes, theme: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_pixels, "MOST_AS_DISCS", most)
    picture = shaded(np.tile(points, (30, 1)), classes_of(np.tile(classes.codes[:], 30), classes.names), theme)
    assert picture[0, -1].tolist() == rgb(BACKGROUNDS[theme]).tolist()
    expected = {0: (0.9, 0.1), 1: (0.9, 0.9), 2: (0.1, 0.1)}
    for code, place in expected.items():
        np.testing.assert_allclose(coloured(picture, classes.colors[code]), place, atol=0.1)


def test_the_scale_is_one_on_both_axes() -> None:
    x = np.linspace(0, 10, 500, dtype=np.float32)
    window = view(x, x / 4)
    picture = shaded(np.stack([x, x / 4], axis=1), read_classes(None, 500))
    assert picture.shape[:2] == (SIZE * 6 // 10, SIZE)
    assert window[1] - window[0] == pytest.approx((window[3] - window[2]) / 0.6)


def test_a_few_far_rows_do_not_shrink_the_rest(points: NDArray[np.float32]) -> None:
    window = view(points[:, 0], points[:, 1])
    far = np.concatenate([points, [[1e5, -1e5]]]).astype(np.float32)
    found = view(far[:, 0], far[:, 1])
    assert found[1] - found[0] < 2 * (window[1] - window[0])


def test_no_row_is_cut_off_where_there_is_room(points: NDArray[np.float32]) -> None:
    x0, x1, y0, y1 = view(points[:, 0], points[:, 1])
    assert ((points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > y0) & (points[:, 1] < y1)).all()


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_any_number_of_components(n_components: int) -> None:
    points = np.random.default_rng(0).normal(size=(50, n_components)).astype(np.float32)
    assert len(np.unique(pixels(draw(points, read_classes(None, 50))))) > 2


def test_rows_without_a_place_are_left_out(points: NDArray[np.float32], classes: Classes) -> None:
    torn = np.concatenate([points, np.full((5, 2), np.nan, np.float32)])
    more = Classes(np.append(classes.codes[:], [0] * 5), classes.names, classes.counts, classes.colors)
    assert draw(torn, more) == draw(points, classes)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_rows(n: int) -> None:
    assert pixels(draw(np.ones((n, 2), np.float32), read_classes(None, n))).shape[1] == SIZE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_legend_shows_every_color(theme: str) -> None:
    """Swatches stand to the right of the map, pure, for 58 classes."""
    codes = np.arange(580) % 58
    many = classes_of(codes, [f"class {code}" for code in range(58)])
    points = np.random.default_rng(0).normal(size=(580, 2)).astype(np.float32)
    picture = pixels(draw(points, many, theme))
    legend = {tuple(pixel) for pixel in picture[:, SIZE * 6 // 10 :].reshape(-1, 3).tolist()}
    assert [color for color in many.colors if tuple(rgb(color).tolist()) not in legend] == []


@pytest.mark.parametrize("n", [2, 10, 33, 60])
def test_the_legend_is_whole_and_large(n: int) -> None:
    """Nothing of it is cut off, and its letters are a hundredth of the picture's height at least."""
    codes = np.arange(60 * n) % n
    many = classes_of(codes, [f"introspection, part {code:04}" for code in range(n)])
    points = np.random.default_rng(0).normal(size=(60 * n, 2)).astype(np.float32)
    picture = pixels(draw(points, many))
    legend = picture[:, SIZE:]
    assert all((edge == 255).all() for edge in (legend[:4], legend[-4:], legend[:, -4:]))
    assert room_map._legend_font(n, len(picture)) * room_map.DPI / 72 > len(picture) / 100


@pytest.mark.parametrize("most", [200_000, 0], ids=["numpy", "datashader"])
def test_the_number_of_rows_farther_out_is_that_of_all(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 100 rows, a sample of them deciding what is seen."""
    monkeypatch.setattr(room_pixels, "MOST_AS_DISCS", most)
    monkeypatch.setattr(room_rows, "BLOCK_VALUES", 200)
    points = np.random.default_rng(0).uniform(size=(1000, 2)).astype(np.float32)
    points[::100] += 50
    points[3] = np.nan
    found = count_pixels(Rows(points, read_classes(None, 1000)))
    assert (found.n_rows, found.n_outside) == (999, 10)
    if most == 0:
        assert found.counts.sum() == 989


def test_blocks_make_the_same_picture(
    points: NDArray[np.float32], classes: Classes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_pixels, "MOST_AS_DISCS", 0)
    whole = draw(points, classes)
    monkeypatch.setattr(room_rows, "BLOCK_VALUES", 74)
    assert draw(points, classes) == whole


def test_a_sample_decides_what_is_seen_and_all_rows_are_drawn(
    points: NDArray[np.float32], classes: Classes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_rows, "MOST_ROWS", 150)
    monkeypatch.setattr(room_rows, "BLOCK_VALUES", 74)
    rows = Rows(points, classes)
    assert 80 < len(rows.sample) <= 150
    np.testing.assert_array_equal(rows.sample.x, points[rows.sample.ids, 0])
    np.testing.assert_array_equal(rows.sample.codes, classes.codes[:][rows.sample.ids])
    found = count_pixels(rows)
    assert found.counts.sum() + found.n_outside == found.n_rows == 300


def test_more_rows_are_drawn_with_smaller_points() -> None:
    """A map is neither empty with 1,000 rows nor one blot with 100,000."""
    shares = []
    for n in (1000, 10_000, 100_000):
        points = np.random.default_rng(0).uniform(size=(n, 2)).astype(np.float32)
        picture = shaded(points, read_classes(None, n))
        shares.append(float((picture < 250).any(axis=-1).mean()))
    assert min(shares) > 0.03
    assert max(shares) < 0.4


def test_names_stand_at_the_densest_place(points: NDArray[np.float32], classes: Classes) -> None:
    places = name_places(points[:, 0], points[:, 1], classes.codes[:], view(points[:, 0], points[:, 1]))
    np.testing.assert_allclose([places[0], places[1], places[2]], [[0, 0], [9, 0], [0, 9]], atol=0.8)


def test_ranges_have_no_names_on_the_map(points: NDArray[np.float32], classes: Classes) -> None:
    ranges = Classes(classes.codes, classes.names, classes.counts, classes.colors, ordered=True)
    assert draw(points, ranges) != draw(points, classes)


def test_scattered_classes_have_no_name_on_the_map() -> None:
    x, y = np.random.default_rng(0).uniform(size=(2, 2000)).astype(np.float32)
    assert name_places(x, y, np.arange(2000) % 2, view(x, y)) == {}


def test_a_name_that_would_lie_over_another_is_left_out_and_one_at_the_edge_is_whole() -> None:
    places = {0: (0.5, 0.5), 1: (0.52, 0.5), 2: (0.5, 0.1), 3: (1.0, 0.9)}
    figure = Figure((10, 10), dpi=room_map.DPI)
    names = ["first", "over it", "below", "at the edge"]
    room_map._names(figure, places, names, (0, 1, 0, 1), (1400, 1400, 3), "light")
    assert [text.get_text() for text in figure.texts] == ["first", "below", "at the edge"]
    assert figure.texts[-1].get_window_extent(FigureCanvasAgg(figure).get_renderer()).x1 < 1400
