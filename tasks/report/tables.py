"""Manifests as Markdown tables, for the run page and the report."""

from typing import Any

LEFT_OUT = {"token", "request", "committed", "parameters", "history", "versions", "source", "graph", "model", "quality"}


def stage_table(stage: str, manifest: dict[str, Any]) -> str:
    """One stage's figures, a line each."""
    figures = {name: value for name, value in flatten(manifest).items() if name.split(".")[0] not in LEFT_OUT}
    lines = [f"| {name} | {_cell(with_unit(name, value))} |" for name, value in figures.items()]
    return "\n".join([f"### {stage}", "", "| figure | value |", "|---|---|", *lines])


def headline(manifest: dict[str, Any], *names: str) -> str:
    """The figures of a stage that are looked for first, in a line."""
    known = [name for name in names if manifest.get(name) is not None]
    return " · ".join(f"{name.removeprefix('n_').replace('_', ' ')} {show(manifest[name])}" for name in known)


def quality_table(quality: dict[str, Any]) -> str:
    """Quality of the map on trained and on held-out rows, side by side."""
    kinds = [kind for kind in ("trained", "held_out") if kind in quality]
    if not kinds:
        return "Not measured: the map shows other rows than the model was trained on, or too few."
    names = list(dict.fromkeys(name for kind in kinds for name in quality[kind]))
    lines = [f"| {name} | " + " | ".join(_cell(quality[kind].get(name)) for kind in kinds) + " |" for name in names]
    return "\n".join([f"| figure | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|", *lines])


def _cell(value: Any) -> str:
    """A figure that stays within its cell."""
    return show(value).replace("|", "\\|").replace("\n", " ")


def with_unit(name: str, value: Any) -> Any:
    """Bytes and seconds, known by their names, as text with their unit; any other figure as it is."""
    if isinstance(value, int) and ("_bytes" in name or name.startswith("peak_memory")):
        return f"{value / 1e9:,.2f} GB" if value >= 1e9 else f"{value / 1e6:,.2f} MB"
    return f"{show(value)} s" if isinstance(value, float) and "seconds" in name else value


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, the names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        path = f"{prefix}{name}"
        flat |= flatten(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def show(value: Any) -> str:
    """A figure as people read it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join([*(show(part) for part in value[:6]), *(["..."] if len(value) > 6 else [])])
    return str(value)
