"""Real commands killed in every stage: see `kills`, which kills more often as a command."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.flows.kills import compare


@pytest.mark.long
def test_killed_commands_end_as_if_nobody_had_killed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))  # no server of their own: 10 s less each
    counts = compare(tmp_path, n_kills=4, seed=1)
    assert [len(count.seconds) for count in counts.values()] == [1] * 4
    assert sum(count.finished for count in counts.values()) > 0
    assert [(count.done_again, count.went_back) for count in counts.values()] == [(0, 0)] * 4
