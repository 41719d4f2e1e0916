"""`force`: everything is made anew, and a killed run of it goes on where it was."""

from pathlib import Path

import pytest

from pumascale.flows.graph import graph
from pumascale.tasks.storage import manifests
from tests.flows.conftest import COMPUTE, GRAPH


def test_a_forced_run_that_was_killed_finds_its_place_again(
    tmp_path: Path, digits: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(force: bool = True) -> str:
        return Path(graph(digits[0], str(tmp_path / "work"), GRAPH, COMPUTE, force=force)["graph"]).name

    def places() -> set[str]:
        return {path.name for path in (tmp_path / "work" / "graphs").iterdir()}

    def broken(*arguments: object) -> None:
        raise RuntimeError("killed")

    first = make(force=False)
    with monkeypatch.context() as patched:
        patched.setattr(manifests, "commit", broken)
        with pytest.raises(RuntimeError, match="killed"):
            make()
    begun = places() - {first}
    assert {make()} == begun
    assert make() in places() - begun - {first}
    assert list((tmp_path / "work" / "forced").iterdir()) == []
