"""The house: who may import whom. Files in tasks/ are doors, folders are rooms, storage is the ground floor."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("graph", "training", "embedding", "quality", "report", "compute")
GROUND = ("pumascale.tasks.storage", "pumascale.tasks.parameters")

# What each folder must not import, by the first words of the module's name.
FORBIDDEN = {
    "flows": [
        "dask",
        "distributed",
        "keras",
        "tensorflow",
        "zarr",
        *(f"pumascale.tasks.{room}." for room in ROOMS),
    ],
    "tasks/graph": ["prefect", "keras", "tensorflow", "dask", "distributed"],
    "tasks/training": ["prefect", "dask", "distributed"],
    "tasks/embedding": ["prefect", "dask", "distributed"],
    "tasks/quality": ["prefect", "keras", "tensorflow", "dask", "distributed"],
    "tasks/report": ["prefect", "keras", "tensorflow", "distributed"],
    "tasks/compute": ["prefect", "keras", "tensorflow"],
    "tasks/storage": ["prefect", "keras", "tensorflow", "dask", "distributed", "pumascale.flows"],
}
DOORS = {
    "build_graph": {"graph", "compute", "report"},
    "train_encoder": {"training", "report", "compute"},
    "write_embedding": {"embedding", "quality", "compute"},
    "measure_drift": {"embedding", "quality", "report"},
    "write_rows": {"embedding", "report"},
    "export_map": {"embedding"},
    "export_model": {"training"},
}
# What else lies beside them and looks into rooms; a file that is named nowhere may look into none.
SHARED = {
    "preflight": {"graph", "training", "compute", "embedding"},
    "stage": {"compute"},
    "report_embedding": {"report"},
}


def imports(path: Path) -> set[str]:
    """Every module that the file names in an import, wherever it stands."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    sources = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return plain | {f"{node.module}.{alias.name}" for node in sources for alias in node.names}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_imports_nothing_that_it_must_not(folder: str) -> None:
    wrong = [
        f"{path.name}: {name}"
        for path in files(folder)
        for name in imports(path)
        for bad in FORBIDDEN[folder]
        if name == bad.rstrip(".") or name.startswith(bad.rstrip(".") + ".")
    ]
    assert files(folder)
    assert wrong == []


@pytest.mark.parametrize("room", [*ROOMS, "storage"])
def test_rooms_meet_only_on_the_ground_floor(room: str) -> None:
    allowed = (f"pumascale.tasks.{room}", *GROUND)
    ours = {name for path in files(f"tasks/{room}") for name in imports(path) if name.startswith("pumascale")}
    assert [name for name in sorted(ours) if not name.startswith(allowed)] == []


@pytest.mark.parametrize("name", [path.stem for path in files("tasks")])
def test_a_door_opens_its_own_room(name: str) -> None:
    names = imports(ROOT / "tasks" / f"{name}.py")
    rooms = {room for room in ROOMS for used in names if f"{used}.".startswith(f"pumascale.tasks.{room}.")}
    assert rooms <= (DOORS | SHARED).get(name, set())
    others = tuple(f"pumascale.tasks.{door}." for door in DOORS if door != name)
    assert [used for used in names if f"{used}.".startswith(others)] == []


def test_packages_import_nothing_that_costs() -> None:
    """Importing Keras costs 14 s and Prefect 3 s: no package may do it for a module that needs neither."""
    for path in [*ROOT.glob("flows/**/__init__.py"), *ROOT.glob("tasks/**/__init__.py")]:
        assert imports(path) <= {"os"}, path
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_nothing_is_imported_relatively() -> None:
    for path in [*ROOT.glob("flows/**/*.py"), *ROOT.glob("tasks/**/*.py")]:
        nodes = ast.walk(ast.parse(path.read_text()))
        assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level], path
