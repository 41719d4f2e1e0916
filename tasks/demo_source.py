"""The demo's data: scikit-learn's bundled digits, written as Zarr arrays."""

import numpy as np

from pumascale.tasks.storage import arrays, manifests, urls


def write_digits(workspace: str) -> tuple[str, str]:
    """Write the digits (1,797 x 64) and their labels below `workspace`, once.

    Returns
    -------
    source, labels : str
        URLs of the rows, float32 (1797, 64), and of the labels, int64 (1797,).
    """
    place = urls.join(urls.absolute(workspace), "digits")
    rows, labels = urls.join(place, "rows"), urls.join(place, "labels")
    if manifests.read_manifest(place) is None:  # new, or a demo was killed while it wrote
        from sklearn.datasets import load_digits

        digits = load_digits()
        arrays.write_whole(rows, digits.data.astype(np.float32))
        arrays.write_whole(labels, digits.target.astype(np.int64))
        manifests.commit(place, {"n_rows": len(digits.target)})
    return rows, labels
