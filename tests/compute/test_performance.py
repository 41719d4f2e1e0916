"""Dask's performance report: written beside what the work makes, refused before the work where nothing can draw it."""

import sys
from pathlib import Path

import pytest
from distributed import Client, get_client

from pumascale.tasks.compute.bounded_map import bounded_map
from pumascale.tasks.compute.performance import write_performance_report
from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError
from tests.compute import jobs


def test_the_report_names_the_tasks_and_opens_without_a_network(client: Client, workspace: str) -> None:
    url = urls.join(workspace, "dask-report.html")
    with write_performance_report(client, url):
        assert sorted(bounded_map(client, jobs.square, range(5))) == [0, 1, 4, 9, 16]
    page = (urls.read_bytes(url) or b"").decode()
    assert "square" in page
    assert '<script type="text/javascript" src=' not in page
    with pytest.raises(ValueError, match="No global client"):
        get_client()


def test_without_bokeh_nothing_is_begun(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The scheduler of this client is in this process: here its packages are gone.
    monkeypatch.setattr(sys, "path", [])
    asked = write_performance_report(client, str(tmp_path / "report.html"))
    with pytest.raises(InputError, match="needs bokeh where the Dask scheduler runs"), asked:
        pytest.fail("the work was begun")
    assert list(tmp_path.iterdir()) == []
