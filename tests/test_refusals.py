"""What a user gets wrong, at the command line: one line that says what came, what was expected and what to change.

Each is refused before any work: nothing is written, no server and no cluster is started.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import zarr

from pumascale.flows import shell
from pumascale.tasks.storage import manifests, urls
from tests.s3.fixtures import changed_environment

ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def write(url: Path, values: np.ndarray, **options: object) -> None:
    zarr.create_array(str(url), shape=values.shape, dtype=values.dtype, chunks=values.shape, **options)[:] = values


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources, good and bad, and what else the commands below name."""
    folder = tmp_path_factory.mktemp("here")
    write(folder / "rows", ROWS)
    holes = ROWS.copy()
    holes[7, 2], holes[30] = np.nan, np.inf
    write(folder / "nan", holes)
    write(folder / "times", ROWS.astype(np.float64) + 1.7e9)
    write(folder / "labels", np.arange(39))
    write(folder / "line", np.arange(40.0))
    write(folder / "complex", np.ones((40, 6), np.complex64))
    write(folder / "dates", np.zeros((40, 6), "M8[s]"), zarr_format=2)
    zarr.create_array(str(folder / "strings"), data=np.full((40, 6), "a"), zarr_format=2)
    zarr.create_array(str(folder / "empty"), shape=(0, 6), dtype="f4", chunks=(1, 6))
    zarr.open_group(str(folder / "group"), mode="w").create_group("deep")
    write(folder / "group" / "one", ROWS)
    write(folder / "group" / "deep" / "two", ROWS)
    facts = {"schema_version": 1, "row_shape": [6], "n_components": 2}
    urls.write_bytes(str(folder / "models" / "one" / "model.json"), manifests.encode_json(facts))
    manifests.commit(str(folder / "models" / "one"), {})
    recipe = {"graph": str(folder / "graphs" / "labelled"), "parameters": {}}
    urls.write_bytes(str(folder / "models" / "labelled" / "model.json"), manifests.encode_json(facts))
    manifests.commit(str(folder / "models" / "labelled"), recipe)
    manifests.commit(recipe["graph"], {"parameters": {"labels": str(folder / "labels")}})
    write(folder / "map" / "embedding", ROWS[:, :2].copy())
    manifests.commit(str(folder / "map"), {})
    write(folder / "complexes", np.ones(40, np.complex64))
    np.save(folder / "rows.npy", ROWS)
    (folder / "bad.yaml").write_text("graph: {n_neighbors: 3")
    (folder / "list.yaml").write_text("- graph")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.txt").write_text("years of work")
    return folder


@pytest.mark.filterwarnings("error")
def test_what_lies_beside_an_array_is_no_matter(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = here / "map"
    zarr.open_group(str(place), mode="a")
    for name in ("map.png", "report.html"):
        (place / name).write_text("of the report")
    reason = "map is a Zarr group. Expected one of the arrays inside it: .*map/embedding"
    assert_refused(here, capsys, reason, "fit-transform", str(place), "--workspace", "w")


@pytest.mark.parametrize("command", ["transform", "update", "inverse-transform"])
def test_the_examples_of_a_commands_help_are_of_its_groups(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        shell.app([command, "--help"])
    said = capsys.readouterr().out
    assert "embedding.batch_size" in said
    assert "n_neighbors" not in said


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["pumascale", "--version"])
    with pytest.raises(SystemExit) as ended:
        shell.main()
    assert ended.value.code in (0, None)
    assert re.fullmatch(r"pumascale \d+\.\d+\.\d+\n", capsys.readouterr().out)


def assert_refused(here: Path, capsys: pytest.CaptureFixture[str], reason: str, *words: str) -> None:
    """The command ends with one line on stderr, and all files are as they were."""
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    with pytest.raises(SystemExit) as ended:
        shell.app(list(words))
    out, said = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert re.match(f"pumascale: .*{reason}.*\n$", said), said
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


SOURCES = {
    "nowhere": "No Zarr array at .*nowhere. Expected the URL of an array",
    "group": "is a Zarr group. Expected one of the arrays inside it: .*group/deep/two, .*group/one.",
    "line": r"has shape \(40,\). Rows of numbers are expected",
    "empty": r"has shape \(0, 6\), so it holds no data",
    "complex": "has dtype complex64. Floats, integers or booleans are expected",
    "dates": r"has dtype datetime64\[s\]. Floats, integers or booleans are expected",
    "strings": "has dtype <U1. Floats, integers or booleans are expected",
    "rows.npy": r"rows.npy is a file. Expected a Zarr array, which is a folder: zarr.save_array",
    "times": "dtype float64 so far from 0 that float32, .* rounds away .* Expected numbers around 0: subtract each",
    "nan": "has NaN or inf in 2 of its 40 rows, first in row 7. Expected finite numbers .*graph.non_finite=skip",
    "s4://bucket/rows": "s4://bucket/rows is on no store that is known: Protocol not known: s4. Expected a path, s3",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_bad_source(
    here: Path, source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    assert_refused(here, capsys, SOURCES[source], "fit-transform", source, "--workspace", "w")


OPTIONS = {
    "--set graph.metric=hellinger": "has negative values, .* 'hellinger' is one of distributions. Expected values of 0",
    "--set graph.metric=jaccard": "has values other than 0 and 1; metric 'jaccard' compares sets. Expected binary rows",
    "--set graph.metric=haversine": r"rows of shape \(6,\). Expected 2 features, latitude and longitude",
    '--set graph.metric_kwds={"p":3}': "came with graph.metric='euclidean', whose arguments are none",
    '--set graph.metric=minkowski --set graph.metric_kwds={"q":3}': "whose arguments are p. Expected these names",
    "--set training.hidden_units=[8,0]": "training.hidden_units.1=0: Input should be greater than 0",
    "--set training.csv_log=thesis": "csv_log=.*thesis is a folder. Expected .* such as .*thesis/losses.csv",
    "--set training.csv_log=rows.npy/losses.csv": "rows.npy cannot be written",
    "--set training.tensorboard_log=rows.npy": "rows.npy cannot be written",
    "--set graph.n_neighbors=40": "has 40 rows, too few for graph.n_neighbors=40. Expected at least 41 rows",
    "--set graph.n_neighbour=5": "graph.n_neighbour is unknown. Did you mean 'n_neighbors'?",
    "--set grpah.n_neighbors=5": "Group 'grpah' is unknown here. Did you mean 'graph'?",
    "--set graph.n_neighbors=1": "graph.n_neighbors=1: Input should be greater than or equal to 2",
    "--set graph.n_neighbors=[3": r"The value of --set graph.n_neighbors=\[3 is not YAML",
    "--set graph.metric=cosin": "graph.metric='cosin' is unknown. Did you mean 'cosine'?",
    "--set graph.partition_rows=64 --set graph.n_neighbors=30": "partition_rows=64 is too small .* at least 120",
    "--set compute.memory_limit=500MB": "worker has 476.8 MiB of memory, too little .* at least .* GiB: raise compute",
    "--set compute.memory_limit=much": "compute.memory_limit='much': String should match pattern",
    "--set compute.scheduler_address=tcp://127.0.0.1:9": "scheduler at tcp://127.0.0.1:9 does not answer",
    "--set compute.cluster_class=nowhere:Cluster": "compute.cluster_class='nowhere:Cluster' cannot be imported",
    "--set graph.non_finite=skip": "Expected embedding.non_finite=nan as well, or neither",
    "--set embedding.texts=nowhere": "No Zarr array at .*nowhere",
    "--set graph.labels=labels": "has 39 labels for 40 rows. Expected one label per row",
    "--labels labels": "has 39 labels for 40 rows. Expected one label per row",
    "--target thesis": "exists and was not made by pumascale .*chapter.txt .* choose another URL",
    "--target rows.npy": "rows.npy cannot be written: .* Expected a writable folder or bucket",
    "--target s4://bucket/map": "is on no store that is known",
    "--workspace rows.npy": ".*rows.npy cannot be written: NotADirectoryError: Not a directory. Expected a writable",
    "--workspace s4://bucket": "is on no store that is known",
    "--parameters bad.yaml": "The parameters file is not YAML",
    "--parameters list.yaml": "must map groups to their values",
    "--parameters none.yaml": "--parameters none.yaml cannot be read: .*No such file",
    "--parameters rows.npy": "--parameters rows.npy cannot be read: .*codec",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_a_bad_option(
    here: Path, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr("pumascale.tasks.compute.cluster.CONNECT_SECONDS", 1)
    words = ["fit-transform", "rows", "--workspace", "w", *options.split()]
    assert_refused(here, capsys, OPTIONS[options], *words)


COMMANDS = {
    "transform rows --model nowhere": "nowhere holds no finished model",
    "transform rows --model rows.npy": "rows.npy holds no finished model",
    "inverse-transform rows --model rows.npy": "rows.npy holds no finished model",
    "fit rows --workspace w --set training.warm_start=rows.npy": "rows.npy/model.json is missing",
    "export rows.npy map.parquet": "rows.npy holds no finished map",
    "export-model rows.npy net.onnx": "rows.npy holds no finished model",
    "latest rows.npy": "holds no finished version",
    "transform nan --model models/one": "NaN or inf in 2 of its 40 rows, first in row 7. .*embedding.non_finite=nan",
    "update nan --model models/one --target t": "has NaN or inf in 2 of its 40 rows, first in row 7",
    "update rows --model models/labelled --target t --retrain-above 0.2": "has 39 labels for 40 rows. Expected one",
    "update rows --model nowhere --target t": "nowhere holds no finished model",
    "inverse-transform rows --model nowhere": "nowhere holds no finished model",
    "export nowhere map.parquet": "nowhere holds no finished map",
    "export models/one map.parquet": "models/one holds no finished map. Expected the URL of an embedding, or of a",
    "export map thesis": "thesis is a folder. Expected the name of a file, such as .*thesis/export.parquet",
    "export map thesis/chapter.txt": "chapter.txt is another file. Expected nothing there, or an older export",
    "export map map.csv": "map.csv ends in .csv, and parquet is what is written there. .* such as .*map.parquet",
    "export map one.parquet --labels complexes": "complexes has dtype complex64. Expected integers, floats or strings",
    "export map cells.zarr --to anndata": "No AnnData store at .*cells.zarr",
    "export map cells.zarr --to anndata --labels labels": "An AnnData store has its own labels",
    "export-model models/one thesis": "thesis is a folder. Expected the name of a file, such as .*thesis/export.onnx",
    "export-model models/one thesis --to saved_model": "is a folder with other things, such as chapter.txt",
    "export-model models/one thesis/chapter.txt --to saved_model": "chapter.txt is a file. Expected nothing there",
    "export-model models/one one.onnx --to litert": "one.onnx ends in .onnx, and litert is .* such as .*one.tflite",
    "export-model models/one one.onnx --network decoder": "models/one has no decoder. Train with",
    "latest nowhere": "holds no finished version",
    "latest s4://bucket/map": "is on no store that is known",
    "fit rows --workspace w --set embedding.batch_size=5": "Group 'embedding' is unknown here",
    "demo --workspace rows.npy": "rows.npy cannot be written",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_command(
    here: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    assert_refused(here, capsys, COMMANDS[command], *command.split())


USAGE = {
    "fit-transform rows": "Missing option '--workspace'. See pumascale fit-transform --help.",
    "fit-transfrom rows": "No such command 'fit-transfrom'. Did you mean .*fit-transform.* See pumascale --help.",
    "latest target --newest": "No such option: --newest.* See pumascale latest --help.",
    "export map place --to csv": "Invalid value for '--to': .*'csv' is not one of .*See pumascale export --help.",
}


@pytest.mark.parametrize("command", USAGE)
def test_a_command_that_cannot_be_understood(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pumascale", *command.split()])
    with pytest.raises(SystemExit) as ended:
        shell.main()
    out, said = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert re.fullmatch(f"pumascale: {USAGE[command]}\n", said), said


PLANTED = "hunter/2"  # the keys of S3 have slashes
SECRET = f"s3://me:{PLANTED}@bucket/rows"
SECRETS = [
    f"fit-transform {SECRET} --workspace w",
    f"fit-transform rows --workspace {SECRET}",
    f"fit-transform rows --workspace w --target {SECRET}",
    f"fit-transform rows --workspace w --labels {SECRET}",
    f"fit-transform rows --workspace w --set graph.labels={SECRET}",
    f"fit-transform rows --workspace w --set training.landmark_positions={SECRET}",
    f"fit-transform rows --workspace w --set training.warm_start={SECRET}",
    f"transform rows --model {SECRET}",
    f"export {SECRET} map.parquet",
    f"latest {SECRET.replace('s3', 'sftp')}",
]


@pytest.mark.parametrize("command", SECRETS)
def test_a_secret_in_a_url_is_refused_and_not_said(
    here: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    reason = rf"(?!.*{PLANTED}).*://me:\*\*\* came with a secret .* the environment, a profile, or a block"
    assert_refused(here, capsys, reason, *command.split())


STORE = {
    "AWS_SECRET_ACCESS_KEY=wrong": "refused these credentials",
    "AWS_ACCESS_KEY_ID=wrong": "refused these credentials",
    "AWS_ENDPOINT_URL_S3=http://127.0.0.1:9": "The store of s3://.* does not answer: EndpointConnectionError",
}


@pytest.mark.parametrize("change", STORE)
def test_a_bad_store(here: Path, s3: str, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, _, value = change.partition("=")
    with changed_environment({name: value}):
        assert_refused(here, capsys, STORE[change], "fit-transform", f"{s3}/rows", "--workspace", f"{s3}/work")
        assert_refused(here, capsys, STORE[change], "fit-transform", str(here / "rows"), "--workspace", f"{s3}/work")


def test_a_bucket_that_is_not_there(here: Path, s3_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    for source, workspace in ((str(here / "rows"), "s3://no-such-bucket/w"), ("s3://no-such-bucket/rows", "w")):
        reason = "There is no bucket 'no-such-bucket'"
        assert_refused(here, capsys, reason, "fit-transform", source, "--workspace", workspace)
