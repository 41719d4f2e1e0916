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
from pumascale.tasks.report.names import name_places
from pumascale.tasks.report.pixels import Window, view
from pumascale.tasks.report.rows import Placed, Rows
from pumascale.tasks.report.tables import flatten, quality_table, show, with_unit
from pumascale.tasks.report.template import PAGE

MOST_POINTS = 200_000


def make_page(
    rows: Rows,
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
    rows : Rows
        Above 200,000 a sample of them is drawn.
    map_picture : bytes, optional
        A PNG of the map for readers that run no scripts, such as a mail's.
    tables : dict
        Title to figures: the graph, the training, the parameters.
    texts : callable, optional
        From the ids of the rows that are drawn, int64 (m,), ascending, to what the pointer shows for each.
    """
    some, classes, n_rows = _sample(rows, random_state), rows.classes, rows.points.shape[0]
    window = view(some.x, some.y)
    data = {
        "x": _pack(some.x),
        "y": _pack(some.y),
        "window": window,
        "places": _names(some, classes, window),
        "id": _pack(some.ids.astype(np.uint32)),
        "code": _pack(some.codes.astype(np.uint16)),
        "names": classes.names,
        "counts": classes.counts,
        "colors": classes.colors,
        "texts": None if texts is None else texts(some.ids),
    }
    note = f"{n_rows:,} rows" + (f", a sample of {len(some):,} drawn" if len(some) < n_rows else "")
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


def _names(some: Placed, classes: Classes, window: Window) -> list[list[Any]]:
    """What is written on the map: a name and its place."""
    if len(classes.names) < 2 or classes.ordered:
        return []
    return [[classes.names[code], *place] for code, place in name_places(some.x, some.y, some.codes, window).items()]


def _sample(rows: Rows, random_state: int) -> Placed:
    if len(rows.sample) <= MOST_POINTS:
        return rows.sample
    drawn = np.random.default_rng(random_state).choice(len(rows.sample), MOST_POINTS, replace=False)
    return rows.sample.at(np.sort(drawn))


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
