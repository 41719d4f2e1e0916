"""Landmarks: the places of some of the old rows, written once."""

import numpy as np

from pumascale.tasks.recipe import write_landmarks
from pumascale.tasks.storage import arrays, fingerprints


def test_a_retraining_that_begins_again_finds_the_landmarks_that_it_wrote(workspace: str) -> None:
    places = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    arrays.write_whole(f"{workspace}/map/embedding", places)
    url = write_landmarks(f"{workspace}/work", f"{workspace}/map", 300, 0)
    seen, found = fingerprints.fingerprint_tree(url), np.asarray(arrays.open_array(url)[:])
    held = np.flatnonzero(np.isfinite(found).all(axis=1))
    assert (found.shape, len(held)) == ((300, 2), 60)
    np.testing.assert_array_equal(found[held], places[held])
    assert write_landmarks(f"{workspace}/work", f"{workspace}/map", 300, 0) == url
    assert fingerprints.fingerprint_tree(url) == seen
