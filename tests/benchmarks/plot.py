"""A small writer of SVG: lines over two logarithmic axes."""

from __future__ import annotations

import math
from html import escape

from tests.benchmarks.report import Plot

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 50
COLOURS = ("#1f6feb", "#d29922", "#da3633", "#238636", "#8957e5")


class _Axis:
    """Maps the values of one direction to places."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self._low = math.log10(min(values))
        self._span = (math.log10(max(values)) - self._low) or 1.0
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / self._span
        return round(self._start + share * (self._end - self._start), 1)


def _ticks(values: list[float]) -> list[float]:
    """Return the round numbers between the least and the greatest, at most ten."""
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [
            f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high
        ]
        if len(found) <= 10:
            break
    return found


def draw(plot: Plot) -> str:
    """Return the plot as SVG; only values above zero can be drawn."""
    points = [point for line in plot.lines.values() for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_axis = _Axis(xs, LEFT, WIDTH - RIGHT)
    y_axis = _Axis(ys, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{escape(plot.title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 20, plot.title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, plot.x_label, anchor="middle"),
        _text(LEFT - 60, TOP - 6, plot.y_label),
    ]
    for x in _ticks(xs):
        place = x_axis.place(x)
        parts += [
            _rule(place, TOP, place, HEIGHT - BOTTOM),
            _text(place, HEIGHT - BOTTOM + 18, f"{x:,g}", anchor="middle"),
        ]
    for y in _ticks(ys):
        place = y_axis.place(y)
        parts += [
            _rule(LEFT, place, WIDTH - RIGHT, place),
            _text(LEFT - 8, place + 4, f"{y:,g}", anchor="end"),
        ]
    for number, (name, line) in enumerate(plot.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(x_axis.place(x), y_axis.place(y)) for x, y in line]
        joined = " ".join(f"{x},{y}" for x, y in places)
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places
        ]
        x, y = places[-1]
        parts.append(_text(x + 8, y + 4, name, colour=colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    colour: str = "#333",
) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{colour}">{escape(text)}</text>'
    )
