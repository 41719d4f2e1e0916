"""Colours for up to 60 classes: far apart in hue and lightness, the largest classes first."""

import colorsys

BASE = [
    "#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#38b2c8", "#ff8ab7", "#9c6b4e",
    "#6cc5b0", "#97bbf5", "#c9b94b", "#d0479a", "#5f8f2f", "#7d6fd1", "#e8743b", "#2f7f86",
]  # fmt: skip
GRAY = "#9498a0"


def class_colors(n_classes: int) -> list[str]:
    """One colour per class as '#rrggbb', the first ones the most distinct; beyond 60 the colours repeat."""
    more = [_golden(index) for index in range(max(0, min(n_classes, 60) - len(BASE)))]
    palette = (BASE + more)[: max(1, min(n_classes, 60))]
    return [palette[index % len(palette)] for index in range(n_classes)]


def _golden(index: int) -> str:
    """Hues by the golden ratio, so that neighbours in order are far apart; lightness in three turns."""
    hue = (0.07 + 0.618034 * index) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.42, 0.60, 0.72)[index % 3], 0.62)
    return f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
