"""report.html in a real browser: it opens without a network, shows every point, and takes no text for code."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium.webdriver import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

from pumascale.tasks.report.labels import Classes, read_classes
from pumascale.tasks.report.loss import draw_loss
from pumascale.tasks.report.page import make_page
from pumascale.tasks.report.rows import Rows
from tests.deployments.browser import open_browser
from tests.report.conftest import classes_of, pixels

HOSTILE = "</script><b>bold</b><img src=x onerror=\"document.title='hit'\">{{DATA}} & \u2028 ü"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1000",
]  # fmt: skip


def browse(folder: Path, page: str, *flags: str) -> str:
    """Open the page in Chromium; the document after its script has run."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is needed to test the report page: apt-get install --yes chromium"
    (folder / "report.html").write_text(page, encoding="utf-8")
    command = [chromium, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", (folder / "report.html").as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def page_of(points: NDArray[Any], classes: Classes, **changes: Any) -> str:
    parts: dict[str, Any] = {"title": "digits", "map_picture": None, "loss_picture": None, "quality": {}, "tables": {}}
    return make_page(Rows(points, classes), **(parts | changes))


def texts_of(ids: NDArray[np.int64]) -> list[str]:
    return [f"text of {row}" for row in ids]


def ready(document: str) -> int:
    found = re.search(r'data-ready="(\d+)"', document)
    return int(found[1]) if found else -1


def test_every_point_is_drawn(tmp_path: Path, points: NDArray[np.float32], classes: Classes) -> None:
    document = browse(tmp_path, page_of(points, classes), "--dump-dom")
    assert ready(document) == 300
    legend = re.findall(r"<span title=\"([^\"]*)\">\1</span><b>100</b>", document)
    assert legend == ["left below", "right", "above"]


@pytest.mark.parametrize("n_components", [1, 3])
def test_any_number_of_components(tmp_path: Path, n_components: int) -> None:
    points = np.random.default_rng(0).normal(size=(40, n_components)).astype(np.float32)
    points[3] = np.nan
    assert ready(browse(tmp_path, page_of(points, read_classes(None, 40)), "--dump-dom")) == 39


def test_a_hand_zooms_pans_and_points(tmp_path: Path, points: NDArray[np.float32], classes: Classes) -> None:
    (tmp_path / "report.html").write_text(page_of(points, classes, texts=texts_of))
    with open_browser(tmp_path / "profile") as browser:
        run, hand = browser.driver.execute_script, ActionChains(browser.driver)
        browser.driver.get((tmp_path / "report.html").as_uri())
        canvas, before = browser.see("//canvas"), run("return [scale, left, top_]")
        hand.scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -400).perform()
        zoomed = run("return [scale, left, top_]")
        assert zoomed[0] == pytest.approx(before[0] * np.exp(0.6))
        hand.drag_and_drop_by_offset(canvas, 80, 40).perform()
        assert run("return [scale, left, top_]") == pytest.approx([zoomed[0], zoomed[1] + 80, zoomed[2] + 40], abs=1)
        hand.double_click(canvas).perform()
        assert run("return [scale, left, top_]") == before
        across, down = run(
            "return [left + scale * x[7] - canvas.clientWidth / 2, top_ - scale * y[7] - canvas.clientHeight / 2]"
        )
        hand.move_to_element_with_offset(canvas, round(across), round(down)).perform()
        assert browser.see("//div[@id='tip']").text.split("\n") == ["row 7", "left below", "text of 7"]


def test_texts_stay_text(tmp_path: Path, points: NDArray[np.float32]) -> None:
    """In the title, a label, a row's text and a parameter; the pointer rests on row 0 and a class is chosen."""
    classes = classes_of(np.repeat([0, 1], 150), [HOSTILE, "<b>plain</b>"])
    page = page_of(
        points, classes, title=HOSTILE, tables={HOSTILE: {HOSTILE: HOSTILE}}, texts=lambda ids: [HOSTILE] * len(ids),
        quality={"trained": {HOSTILE: HOSTILE}},
    )  # fmt: skip
    act = "point({offsetX: left + scale * x[0], offsetY: top_ - scale * y[0]}); legend.children[0].click();"
    document = browse(tmp_path, page.replace("</body>", f"<script>{act}</script></body>"), "--dump-dom")
    assert ready(document) == 300
    body = document.split("<body", 1)[1].split('<script id="data"')[0]
    assert "<img" not in body
    assert "<b>bold" not in body
    assert document.count("<script") == 3
    assert "<title>&lt;/script&gt;&lt;b&gt;bold" in document
    shown = re.search(r'<div id="tip" style="[^"]*display: block[^"]*">(.*?)</div></div>', body, re.DOTALL)
    assert shown
    assert shown[1].count("&lt;/script&gt;&lt;b&gt;bold&lt;/b&gt;") == 2
    assert shown[1].startswith("<div>row 0</div>")
    assert '<li class="on">' in body


def test_the_page_needs_no_network(points: NDArray[np.float32], classes: Classes) -> None:
    page = page_of(points, classes, loss_picture=draw_loss({"loss": [2.0, 1.0]}))
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert "http" not in page
    assert "{{" not in page
    assert 'src="data:image/png;base64,' in page


def test_a_reader_without_scripts_has_the_map_as_a_picture(points: NDArray[np.float32], classes: Classes) -> None:
    page = page_of(points, classes, map_picture=b"a PNG")
    assert '<noscript><img alt="The map" src="data:image/png;base64,YSBQTkc="></noscript>' in page


def test_above_200_000_points_a_sample_is_drawn(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(200_001, 2)).astype(np.float32)
    page = page_of(points, read_classes(None, 200_001), texts=texts_of)
    assert "200,001 rows, a sample of 200,000 drawn" in page
    assert len(set(re.findall(r'"text of (\d+)"', page))) == 200_000
    assert ready(browse(tmp_path, page, "--dump-dom")) == 200_000


def test_figures_and_parameters_are_on_the_page(points: NDArray[np.float32], classes: Classes) -> None:
    quality = {"n_neighbors": 15, "trained": {"neighbor_recall": 0.25}, "held_out": {"neighbor_recall": 0.125}}
    page = page_of(points, classes, quality=quality, tables={"Graph": {"parameters": {"n_neighbors": 31}}})
    assert "<th>neighbor recall</th><td>0.25</td><td>0.125</td>" in page
    assert "<th>parameters.n_neighbors</th><td>31</td>" in page
    assert "Not measured" in page_of(points, classes)


@pytest.mark.parametrize(("scheme", "paper"), [(0, (16, 19, 23)), (1, (255, 255, 255))], ids=["dark", "light"])
def test_it_is_drawn_in_light_and_in_dark(
    tmp_path: Path, points: NDArray[np.float32], classes: Classes, scheme: int, paper: tuple[int, int, int]
) -> None:
    """The screenshot has the paper of the scheme and every class in its colour."""
    shot = tmp_path / "page.png"
    browse(
        tmp_path, page_of(points, classes), f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={scheme}"
    )
    picture = pixels(shot.read_bytes())
    assert tuple(picture[3, 3].tolist()) == paper
    colors = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    for color in classes.colors:
        assert tuple(int(color[start : start + 2], 16) for start in (1, 3, 5)) in colors
