"""The command line: `pumascale`, thin over the flows.

Progress goes to stderr; the last line of stdout is the run's manifest as one line of JSON.
"""

import json
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pumascale.flows import console, interrupt

# Before Prefect is imported: no telemetry of its server and of its client, a server that may take its time on a busy
# machine, and a quiet console.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

HELP = """Parametric UMAP at scale: from a Zarr array to a published map.

Progress goes to stderr; the last line of stdout is the run's manifest as one line of JSON.
"""
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=HELP)
UsageError: Any = typer.BadParameter.__base__  # click's, or Typer's own copy of it

URL: dict[str, Any] = {"metavar": "URL"}
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="URL of a Zarr array, rows along axis 0.")]
Workspace = Annotated[str, typer.Option(**URL, help="Prefix of what is made: graphs, models, embeddings.")]
OwnWorkspace = Annotated[str | None, typer.Option(**URL, help="By default the model's own workspace.")]
Model = Annotated[str, typer.Option(**URL, help="A trained model.")]
Target = Annotated[str | None, typer.Option(**URL, help="A place where readers always find the newest finished map.")]
Labels = Annotated[str | None, typer.Option(**URL, help="A Zarr array with one label per row.")]
SET: dict[str, Any] = {"metavar": "GROUP.NAME=VALUE"}
FILE: dict[str, Any] = {"metavar": "FILE"}
Settings = Annotated[
    list[str] | None, typer.Option("--set", **SET, help="A parameter, such as graph.n_neighbors=30; many times.")
]
ParameterFile = Annotated[
    Path | None, typer.Option("--parameters", **FILE, help="YAML of groups, such as graph: {n_neighbors: 30}.")
]
# Of the commands that place rows with a model that is there.
PlacingSettings = Annotated[
    list[str] | None, typer.Option("--set", **SET, help="A parameter, such as embedding.batch_size=4096; many times.")
]
PlacingFile = Annotated[
    Path | None, typer.Option("--parameters", **FILE, help="YAML of groups, such as embedding: {batch_size: 4096}.")
]
Force = Annotated[bool, typer.Option("--force", help="Make everything anew, beside what is there.")]


def _show_version(asked: bool) -> None:
    if asked:
        print(f"pumascale {version('pumascale')}")
        raise typer.Exit


@app.callback()
def command_line(
    is_asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """What stands before every command."""


@app.command("fit-transform")
def fit_transform(
    source: Source,
    workspace: Workspace,
    target: Target = None,
    labels: Labels = None,
    settings: Settings = None,
    parameters: ParameterFile = None,
    force: Force = False,
) -> None:
    """The main job: graph, encoder, map."""
    groups = _groups(settings, parameters, ("graph", "training", "embedding", "compute"))
    from pumascale.tasks.preflight import preflight

    console.attempt(lambda: preflight(source, workspace, target, labels, **groups))
    from pumascale.flows.fit_transform import fit_transform as flow

    console.run(lambda: flow(source, workspace, target=target, labels=labels, force=force, **groups))


@app.command()
def fit(
    source: Source,
    workspace: Workspace,
    settings: Settings = None,
    parameters: ParameterFile = None,
    force: Force = False,
) -> None:
    """Graph and encoder: prints the URL of a model for `transform`, then the manifest."""
    groups = _groups(settings, parameters, ("graph", "training", "compute"))
    from pumascale.tasks.preflight import preflight

    console.attempt(lambda: preflight(source, workspace, None, None, **groups))
    from pumascale.flows.fit import fit as flow

    console.run(lambda: flow(source, workspace, force=force, **groups), shown="model")


@app.command()
def transform(
    source: Source,
    model: Model,
    target: Target = None,
    workspace: OwnWorkspace = None,
    labels: Labels = None,
    settings: PlacingSettings = None,
    parameters: PlacingFile = None,
    force: Force = False,
) -> None:
    """Place the rows of SOURCE with a trained model."""
    groups = _groups(settings, parameters, ("embedding", "compute"))
    from pumascale.tasks.preflight import preflight_transform

    console.attempt(lambda: preflight_transform(source, model, target, workspace, labels, **groups))
    from pumascale.flows.transform import transform as flow

    console.run(lambda: flow(source, model, target=target, workspace=workspace, labels=labels, force=force, **groups))


@app.command()
def update(
    source: Source,
    model: Model,
    target: Annotated[str, typer.Option(**URL, help="The place of the map's versions.")],
    workspace: OwnWorkspace = None,
    labels: Labels = None,
    retrain_above: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drift above which the model is trained anew on all rows.")
    ] = None,
    settings: PlacingSettings = None,
    parameters: PlacingFile = None,
    force: Force = False,
) -> None:
    """Place the rows appended to SOURCE since the newest version of the target: for every night."""
    groups = _groups(settings, parameters, ("embedding", "compute"))
    options: dict[str, Any] = {"workspace": workspace, "labels": labels, "retrain_above": retrain_above, "force": force}
    from pumascale.tasks.preflight import preflight_update

    console.attempt(lambda: preflight_update(source, model, target, **options | groups))
    from pumascale.flows.update import update as flow

    console.run(lambda: flow(source, model, target, **options | groups))


@app.command("inverse-transform")
def inverse_transform(
    coordinates: Annotated[
        str, typer.Argument(metavar="COORDINATES", help="URL of a Zarr array, such as an embedding's.")
    ],
    model: Annotated[str, typer.Option(**URL, help="A model with a decoder.")],
    workspace: OwnWorkspace = None,
    settings: PlacingSettings = None,
    parameters: PlacingFile = None,
    force: Force = False,
) -> None:
    """Rows back from COORDINATES, by the decoder."""
    groups = _groups(settings, parameters, ("embedding",))
    from pumascale.tasks.preflight import preflight_inverse

    console.attempt(lambda: preflight_inverse(coordinates, model, workspace))
    from pumascale.flows.inverse_transform import inverse_transform as flow

    console.run(lambda: flow(coordinates, model, workspace=workspace, force=force, **groups))


@app.command()
def export(
    map_url: Annotated[str, typer.Argument(metavar="MAP", help="URL of an embedding, or of a target.")],
    place: Annotated[str, typer.Argument(metavar="PLACE", help="URL of the Parquet file, or of the AnnData store.")],
    to: Annotated[Literal["parquet", "anndata"], typer.Option(help="anndata: obsm/X_pumap.")] = "parquet",
    labels: Labels = None,
) -> None:
    """The newest finished MAP for map viewers, dataframes and single-cell tools."""
    from pumascale.tasks.preflight import preflight_export

    console.attempt(lambda: preflight_export(map_url, place, to, labels))
    from pumascale.flows.export import export as flow

    console.run(lambda: flow(map_url, place, to, labels))


@app.command("export-model")
def export_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="URL of a trained model.")],
    place: Annotated[str, typer.Argument(metavar="PLACE", help="URL of the file, or of a SavedModel's folder.")],
    to: Annotated[Literal["onnx", "saved_model", "litert"], typer.Option(help="litert: a .tflite file.")] = "onnx",
    network: Annotated[Literal["encoder", "decoder"], typer.Option(help="decoder: coordinates to rows.")] = "encoder",
) -> None:
    """A network of MODEL for serving without pumascale."""
    from pumascale.tasks.preflight import preflight_export_model

    console.attempt(lambda: preflight_export_model(model, place, to, network))
    from pumascale.flows.export_model import export_model as flow

    console.run(lambda: flow(model, place, to, network))


@app.command()
def serve() -> None:
    """Serve every flow from this machine, for the Prefect UI."""
    os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Prefect ends what it serves by its own
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from pumascale.flows.serve import main as serve_all

    serve_all()


@app.command()
def latest(target: Annotated[str, typer.Argument(metavar="TARGET", help="URL of a target.")]) -> None:
    """Print the URL of the newest finished embedding of TARGET."""
    from pumascale.tasks.storage import probes, targets

    console.attempt(lambda: probes.check_reachable(target))
    version = console.attempt(lambda: targets.newest(target))
    if version is None:
        console.fail(f"{target} holds no finished version. Expected a target that a run has published to.")
    print(version["embedding"])


@app.command()
def demo(
    workspace: Annotated[str, typer.Option(**URL, help="A place for the demo.")] = "pumascale-demo",
) -> None:
    """The main job on scikit-learn's bundled digits: a map, its pictures and its report."""
    from pumascale.tasks.demo_source import write_digits
    from pumascale.tasks.storage.probes import check_workspace

    console.attempt(lambda: check_workspace(workspace))
    console.quiet()
    from pumascale.flows.fit_transform import fit_transform as flow

    source, labels = write_digits(workspace)
    result = console.finished(lambda: flow(source, workspace, labels=labels))
    for name in ("embedding", "map.png", "report.html"):
        print(f"{name:12} {result['embedding']}/{name}")
    print(f"{'loss.png':12} {result['model']}/loss.png")
    print(json.dumps(result))


def _groups(settings: list[str] | None, path: Path | None, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The parameter groups of a command, as `--parameters` and `--set` ask for them over their defaults."""
    from pumascale.tasks.settings import read_file, read_groups

    return dict(console.attempt(lambda: read_groups(settings or [], read_file(path) if path else "", allowed)))


def main() -> None:
    """The console script: a command that cannot be understood, or is stopped, ends with one line too."""
    interrupt.listen()
    sys.path.append("")  # a module of one's own in this folder, behind all that is installed
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="pumascale", standalone_mode=False)
    except UsageError as error:
        command, reason = error.ctx.command_path if error.ctx else "pumascale", error.format_message().rstrip(".")
        console.fail(f"{reason}. See {command} --help.", error.exit_code)
    if interrupt.asked.is_set():
        interrupt.said.set()
        console.fail(interrupt.REASON, interrupt.code())
    sys.exit(code)


if __name__ == "__main__":
    main()
