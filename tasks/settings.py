"""From the words of a command line to parameter groups: `graph.n_neighbors=30` and YAML files."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pumascale.tasks.parameters import (
    ComputeParameters,
    EmbeddingParameters,
    GraphParameters,
    Group,
    TrainingParameters,
)
from pumascale.tasks.storage.errors import InputError, nearest_name

GROUPS: dict[str, type[Group]] = {
    "graph": GraphParameters,
    "training": TrainingParameters,
    "embedding": EmbeddingParameters,
    "compute": ComputeParameters,
}


def read_groups(settings: list[str], document: str, allowed: tuple[str, ...]) -> dict[str, Group]:
    """The groups that a command has, from a YAML `document` with the `settings` over it.

    Parameters
    ----------
    settings : list of str
        GROUP.NAME=VALUE, the value in YAML.
    document : str
        A YAML mapping of groups to their values; may be empty.
    allowed : tuple of str
        The groups that this command has.

    Raises
    ------
    InputError
        For an unknown group or name (with the nearest one), or a value out of range.
    """
    values = _read_document(document)
    for setting in settings:
        group, name, value = _split(setting)
        values.setdefault(group, {})[name] = value
    for group in values:
        _check_group(group, allowed)
    return {group: make_group(group, values.get(group, {})) for group in allowed}


def read_file(path: Path) -> str:
    """The text of a parameters file; InputError where there is none."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--parameters {path} cannot be read: {error}. Expected a YAML file of groups and their values."
        ) from None


def make_group(group: str, values: dict[str, Any]) -> Group:
    """The group `group` with `values` over its defaults; InputError in one line where one is wrong."""
    model = GROUPS[group]
    try:
        return model(**values)
    except ValidationError as error:
        reasons = [_describe(group, model, dict(problem)) for problem in error.errors()]
        raise InputError("; ".join(reasons)) from None


def _describe(group: str, model: type[Group], problem: dict[str, Any]) -> str:
    name = ".".join([group, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields)
        return f"{name} is unknown.{nearest_name(str(problem['loc'][0]), known)} Known: {', '.join(known)}."
    return f"{name}={problem['input']!r}: {problem['msg']}"


def _read_document(document: str) -> dict[str, dict[str, Any]]:
    content = _load(document, "The parameters file") or {}
    groups = content.values() if isinstance(content, dict) else [content]
    if not all(isinstance(group, dict | None) for group in groups):
        raise InputError("The parameters file must map groups to their values, such as 'graph: {n_neighbors: 30}'.")
    return {str(group): dict(values or {}) for group, values in content.items()}  # None: all its lines are comments


def _split(setting: str) -> tuple[str, str, Any]:
    path, equals, value = setting.partition("=")
    group, dot, name = path.partition(".")
    if not (equals and dot and group and name):
        raise InputError(f"--set {setting}: expected GROUP.NAME=VALUE, such as graph.n_neighbors=30.")
    return group.strip(), name.strip(), _load(value, f"The value of --set {setting}")


def _load(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{name} is not YAML: {error}. Expected such as 30, cosine, [8, 4] or {{p: 3}}.") from None


def _check_group(group: str, allowed: tuple[str, ...]) -> None:
    if group not in allowed:
        raise InputError(f"Group {group!r} is unknown here.{nearest_name(group, allowed)} Known: {', '.join(allowed)}.")
