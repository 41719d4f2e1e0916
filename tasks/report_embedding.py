"""The report of an embedding: two pictures and a page beside it, and the same on the run's page."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumascale.tasks.run_page import publish_markdown, publish_picture
from pumascale.tasks.storage import arrays, manifests, sources, urls


def report_embedding(place: str, model: str, labels: str | None, texts: str | None, manifest: dict[str, Any]) -> bytes:
    """Draw the embedding at `place`, and say how it was made and how good it is, before the commit; the picture."""
    from pumascale.tasks.report.labels import read_classes
    from pumascale.tasks.report.map import draw_map
    from pumascale.tasks.report.page import make_page
    from pumascale.tasks.report.pixels import count_pixels
    from pumascale.tasks.report.rows import Rows

    points = arrays.open_array(urls.join(place, "embedding"))
    rows = Rows(points, read_classes(labels, points.shape[0]))
    pixels = count_pixels(rows)
    picture = draw_map(rows, pixels)
    urls.write_bytes(urls.join(place, "map.png"), picture)
    urls.write_bytes(urls.join(place, "map-dark.png"), draw_map(rows, pixels, "dark"))
    page = make_page(
        rows,
        title=manifest["source"],
        map_picture=picture,
        loss_picture=urls.read_bytes(urls.join(model, "loss.png")),
        quality=manifest["quality"],
        tables=_tables(model, manifest),
        texts=None if texts is None else partial(_texts_of, texts),
    )
    urls.write_bytes(urls.join(place, "report.html"), page.encode())
    return picture


def publish_embedding(manifest: dict[str, Any], picture: bytes) -> None:
    """Show the committed embedding on the run's page: what it is, how good, and its picture."""
    from pumascale.tasks.report.tables import headline, quality_table, stage_table

    first = headline(manifest, "n_rows", "rows_added", "seconds")
    publish_markdown("write-embedding", stage_table("write_embedding", manifest), first)
    publish_markdown("quality", quality_table(manifest["quality"]), "On trained and on held-out rows")
    publish_picture("map", picture, "The map")


def _texts_of(url: str, ids: NDArray[np.int64]) -> list[str]:
    return [str(text) for text in arrays.read_ids(sources.open_labels(url), ids)]


def _tables(model: str, manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    trained = manifests.read_manifest(model) or {}
    built = manifests.read_manifest(trained["graph"]) or {}
    made = {"Graph": built, "Training": trained, "Embedding": manifest}
    hidden = {"token", "request", "history", "quality"}
    return {name: {key: content[key] for key in content if key not in hidden} for name, content in made.items()}
