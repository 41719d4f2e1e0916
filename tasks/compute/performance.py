# mypy: disable-error-code="no-untyped-call"
"""Dask's performance report of a piece of work, as one HTML file beside what the work makes. Extra: `bokeh`."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Client, performance_report

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError


@contextmanager
def write_performance_report(client: Client, url: str | None) -> Iterator[None]:
    """What the cluster does inside the `with` block is in the report at `url`, once the block has ended well.

    Parameters
    ----------
    url : str or None
        The page to write, on a disk or any store; None writes nothing.

    Raises
    ------
    InputError
        Before the work, where the scheduler, which draws the report, has no bokeh.
    """
    if url is None:
        yield
        return
    _check_bokeh(client)
    with TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        with client.as_current(), performance_report(str(page), mode="inline"):  # inline: it opens without a network
            yield
        urls.upload_file(page, url)


def _check_bokeh(client: Client) -> None:
    try:
        client.run_on_scheduler(version, "bokeh")
    except PackageNotFoundError:
        raise InputError(
            "compute.performance_report=true needs bokeh where the Dask scheduler runs, and it is not there. "
            "Expected: pip install 'pumascale[bokeh]' on that machine; or leave the report out."
        ) from None
