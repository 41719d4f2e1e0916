"""report.html: one self-contained file with an interactive map, the loss curve, the figures and the parameters."""

import base64
import html
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.report.labels import Classes
from pumascale.tasks.report.map import Window, plane, view
from pumascale.tasks.report.names import name_places
from pumascale.tasks.report.tables import flatten, quality_table, show, with_unit
from pumascale.tasks.report.template import PAGE

MOST_POINTS = 200_000


def make_page(
    points: NDArray[np.float32],
    classes: Classes,
    *,
    title: str,
    map_picture: bytes | None,
    loss_picture: bytes | None,
    quality: dict[str, Any],
    tables: dict[str, dict[str, Any]],
    texts: Callable[[NDArray[np.int64]], list[str]] | None = None,
    random_state: int = 42,
) -> str:
    """The page as HTML that needs no network.

    Parameters
    ----------
    points : float32 (n, n_components)
        The first two components are drawn; above 200,000 rows a sample of them.
    map_picture : bytes, optional
        A PNG of the map for readers that run no scripts, such as a mail's.
    tables : dict
        Title to figures: the graph, the training, the parameters.
    texts : callable, optional
        From the ids of the rows that are drawn, int64 (m,), ascending, to what the pointer shows for each.
    """
    ids = _sample(points, random_state)
    x, y = plane(points[ids])
    window = view(x, y)
    data = {
        "x": _pack(x),
        "y": _pack(y),
        "window": window,
        "places": _names(points, ids, classes, window),
        "id": _pack(ids.astype(np.uint32)),
        "code": _pack(classes.codes[ids].astype(np.uint16)),
        "names": classes.names,
        "counts": classes.counts,
        "colors": classes.colors,
        "texts": None if texts is None else texts(ids),
    }
    note = f"{len(points):,} rows" + (f", a sample of {len(ids):,} drawn" if len(ids) < len(points) else "")
    parts = {
        "TITLE": html.escape(title),
        "NOTE": html.escape(note),
        "QUALITY": _quality(quality),
        "TABLES": "".join(_table(name, content) for name, content in tables.items()),
        "MAP": _picture(map_picture, "The map"),
        "LOSS": _picture(loss_picture, "Loss by report"),
        # '<' is escaped so that no text can close the script element.
        "DATA": json.dumps(data).replace("<", "\\u003c"),
    }
    # One pass: what is filled in may itself look like a place to fill.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], PAGE)


def _names(points: NDArray[np.float32], ids: NDArray[np.int64], classes: Classes, window: Window) -> list[list[Any]]:
    """What is written on the map: a name and its place."""
    if len(classes.names) < 2 or classes.ordered:
        return []
    x, y = plane(points[ids])
    return [[classes.names[code], *place] for code, place in name_places(x, y, classes.codes[ids], window).items()]


def _sample(points: NDArray[np.float32], random_state: int) -> NDArray[np.int64]:
    placed = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(placed) <= MOST_POINTS:
        return placed
    return np.sort(np.random.default_rng(random_state).choice(placed, MOST_POINTS, replace=False))


def _pack(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _quality(quality: dict[str, Any]) -> str:
    kinds = [kind for kind in ("trained", "held_out") if kind in quality]
    if not kinds:
        return f"<p>{html.escape(quality_table(quality))}</p>"
    names = list(dict.fromkeys(name for kind in kinds for name in quality[kind]))
    head = "".join(f"<th>{html.escape(kind.replace('_', '-'))} rows</th>" for kind in kinds)
    body = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th>"
        + "".join(f"<td>{html.escape(show(quality[kind].get(name)))}</td>" for kind in kinds) + "</tr>"
        for name in names
    )  # fmt: skip
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _table(name: str, content: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(show(with_unit(key, value)))}</td></tr>"
        for key, value in flatten(content).items()
    )
    return f"<details><summary>{html.escape(name)}</summary><table>{rows}</table></details>"


def _picture(picture: bytes | None, alt: str) -> str:
    if picture is None:
        return ""
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
