"""Models that are incomplete, or newer than this version, are refused by whoever opens them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumascale.tasks.storage import manifests, model_store
from pumascale.tasks.storage.errors import InputError
from pumascale.tasks.training import artefact


@pytest.fixture
def model(tmp_path: Path, trained: tuple[str, dict[str, Any]]) -> Path:
    """A finished model to spoil."""
    place = Path(shutil.copytree(trained[0], tmp_path / "model"))
    manifests.commit(str(place), {})
    return place


def test_a_newer_schema(model: Path) -> None:
    facts = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(facts | {"schema_version": facts["schema_version"] + 1}))
    with pytest.raises(InputError, match="was written by a newer pumascale"):
        artefact.load_encoder(str(model))
    with pytest.raises(InputError, match="Install a newer pumascale"):
        model_store.read_model(str(model))


@pytest.mark.parametrize(
    ("name", "reason"), [("model.json", "is incomplete, or it is not a model"), ("encoder.keras", "No Keras model at")]
)
def test_a_missing_part(model: Path, name: str, reason: str) -> None:
    (model / name).unlink()
    with pytest.raises(InputError, match=reason):
        artefact.load_encoder(str(model))


@pytest.mark.parametrize("name", ["model.json", "manifest.json"])
def test_a_model_that_nobody_finished(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(InputError, match="holds no finished model"):
        model_store.read_model(str(model))


def test_half_an_encoder(model: Path) -> None:
    content = (model / "encoder.keras").read_bytes()
    (model / "encoder.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read as a Keras model"):
        artefact.load_encoder(str(model))
