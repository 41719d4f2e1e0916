"""Landmarks: the places of the old rows, written once."""

import numpy as np
import pytest

from pumascale.tasks.recipe import write_landmarks
from pumascale.tasks.storage import arrays, chunk_objects, fingerprints


def test_a_retraining_that_begins_again_finds_the_landmarks_that_it_wrote(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "SHARD_BYTES", 1024)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 512)  # shards of 128 rows, so a new row's may hold no old one
    places = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    places[7] = np.nan  # placed nowhere, so it is free
    arrays.write_whole(f"{workspace}/map/embedding", places)
    arrays.open_writable(f"{workspace}/map/embedding").update_attributes({"model": "its model"})
    url = write_landmarks(f"{workspace}/work", f"{workspace}/map", 300)
    seen, found = fingerprints.fingerprint_tree(url), arrays.open_array(url)
    assert chunk_objects.object_rows(found) == 128
    assert found.attrs["model"] == "its model"  # whose prototypes stay
    np.testing.assert_array_equal(found[:200], places)
    assert np.isnan(found[200:]).all()
    assert write_landmarks(f"{workspace}/work", f"{workspace}/map", 300) == url
    assert fingerprints.fingerprint_tree(url) == seen
