"""The stages of the prototype network, and what a run that was killed between them does again."""

from pathlib import Path
from typing import Any

import pytest

from pumascale.tasks.training import fit as room
from tests.training.conftest import Stored, short


def test_a_layout_that_was_done_is_not_laid_out_again(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, asked = list[str](), short(encoder="prototypes", n_epochs=20, loss_report_frequency=2)

    def train() -> dict[str, Any]:
        told = room.fit(stored.source, stored.graph, str(tmp_path), asked, on_progress=lambda *s: stages.append(s[0]))
        return dict(told)

    def broken(*arguments: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(room, "save", broken)
        with pytest.raises(RuntimeError, match="killed"):
            train()
    assert stages.count("layout") == 20
    assert train()["n_rows"] == 600
    assert stages.count("layout") == 20
