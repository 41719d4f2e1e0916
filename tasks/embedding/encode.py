"""The room's two directions: rows to coordinates with an encoder, coordinates to rows with a decoder."""

from typing import Any, Literal

from pumascale.tasks.embedding.blocks import Job, Network, OnProgress, Runner, apply_network


def _silent(step: str, done: int, total: int) -> None:
    """No progress is shown."""


def encode(
    source: str,
    network: Network,
    target: str,
    *,
    row_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    by_number: bool = False,
    batch_size: int = 1024,
    non_finite: Literal["error", "nan"] = "error",
    attributes: dict[str, Any] | None = None,
    on_progress: OnProgress = _silent,
    n_rows: int | None = None,
    run: Runner | None = None,
) -> dict[str, Any]:
    """Write the coordinates of every row of `source`; a killed run goes on behind its last finished shard.

    Parameters
    ----------
    source : str
        URL of an array (n, ...) whose rows have prod(row_shape) values.
    network : callable
        The encoder: float32 (batch_size, *row_shape) to float32 (batch_size, *out_shape).
    target : str
        URL of the array to make: float32 (n, *out_shape), dimensions "row" and "component", fill value NaN.
    by_number : bool
        Whether `network` is a table of places: it takes row numbers, int32 (batch_size, 1), instead of rows.
    batch_size : int
        Rows per call of `network`, always the same number: the last batch is padded.
    non_finite : {"error", "nan"}
        Rows with NaN or inf stop the run, or get NaN coordinates.
    attributes : dict, optional
        Of the target array, such as the model's and the source's URL.
    on_progress : callable
        Called with ("rows", rows done, rows) after each shard.
    n_rows : int, optional
        Only the first so many rows, where more may be appended meanwhile; by default all.
    run : callable, optional
        Does the shards on workers, as ``run(function, shards)``; `network` must be one that can be sent to them.

    Returns
    -------
    dict
        n_rows, n_non_finite, n_shards, n_shards_before (those that an earlier run had finished).

    Raises
    ------
    InputError
        When rows hold NaN or inf under "error": how many, which first; only what workers wrote is left of the target.
    """
    job = Job(source, network, target, row_shape, out_shape, batch_size, non_finite, by_number)
    names = ("row", "component") if len(out_shape) == 1 else _axes(out_shape)
    return apply_network(
        job, dimension_names=names, attributes=attributes or {}, on_progress=on_progress, n_rows=n_rows, run=run
    )


def decode(
    source: str,
    decoder: Network,
    target: str,
    *,
    row_shape: tuple[int, ...],
    n_components: int,
    batch_size: int = 1024,
    non_finite: Literal["error", "nan"] = "nan",
    attributes: dict[str, Any] | None = None,
    on_progress: OnProgress = _silent,
) -> dict[str, Any]:
    """Write the rows, float32 (n, *row_shape), that `decoder` makes of the coordinates (n, n_components) at `source`.

    `encode` run backwards, with the same parameters. Coordinates that are NaN (rows that had none) become NaN rows.
    """
    job = Job(source, decoder, target, (n_components,), row_shape, batch_size, non_finite)
    return apply_network(job, dimension_names=_axes(row_shape), attributes=attributes or {}, on_progress=on_progress)


def _axes(row_shape: tuple[int, ...]) -> tuple[str, ...]:
    return ("row", *(f"axis_{axis}" for axis in range(1, len(row_shape) + 1)))
