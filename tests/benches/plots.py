#!/usr/bin/env python3
"""Draws docs/performance/*.svg from the numbers of docs/performance.md.

Usage: python3 tests/benches/plots.py. Nothing but the standard library. The numbers
stand here as the benchmarks printed them; change both places together."""

import math
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 340, 80, 50, 40, 150
COLOURS = {"spad": "#1b6ca8", "fwknopd": "#c0392b", "knockd": "#7f8c8d", "floor": "#27ae60"}

# Processor time of one forged packet in the whole process, nanoseconds, by clients.
COST = {
    "spad": [(1, 970), (1_000, 880), (100_000, 970)],
    "fwknopd": [(1, 50_000), (100, 800_000), (1_000, 8_050_000)],
}
# Knocks that opened, in a hundred, by forged packets a second.
OPENED = {
    "spad": [(234_000, 100)],
    "knockd": [(2_000, 100), (20_000, 100), (45_000, 100)],
    "fwknopd": [(2_000, 40), (20_000, 10), (81_000, 0)],
}


def draw(name, title, across, up, series, xs, ys, up_text, logarithmic_up):
    def scale(value, low, high, logarithmic):
        if logarithmic:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return (value - low) / (high - low)

    def x(value):
        return LEFT + scale(value, xs[0], xs[-1], True) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return HEIGHT - BOTTOM - scale(value, ys[0], ys[-1], logarithmic_up) * (HEIGHT - BOTTOM - TOP)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for value in xs:
        out.append(f'<line x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:,}</text>')
    for value in ys:
        out.append(f'<line x1="{LEFT}" y1="{y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y(value):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{up_text(value)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{across}</text>')
    out.append(f'<text x="{LEFT}" y="{TOP - 6}">{up}</text>')
    for label, points in series.items():
        colour = COLOURS[label]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{colour}"/>' for a, b in points]
        a, b = points[-1]
        out.append(f'<text x="{x(a) + 10:.1f}" y="{y(b) + 4:.1f}" fill="{colour}">{label}</text>')
    out.append("</svg>")
    folder = Path(__file__).resolve().parents[2] / "docs" / "performance"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(out) + "\n")


def time(nanoseconds):
    for limit, unit in [(1e6, "ms"), (1e3, "µs")]:
        if nanoseconds >= limit:
            return f"{nanoseconds / limit:g} {unit}"
    return f"{nanoseconds:g} ns"


draw(
    "cost.svg", "What one forged packet costs", "clients", "processor time",
    COST, [1, 10, 100, 1_000, 10_000, 100_000], [10**power for power in range(1, 8)], time, True,
)
draw(
    "flood.svg", "Genuine knocks that open beside forged packets", "forged packets a second", "of a hundred knocks",
    OPENED, [1_000, 10_000, 100_000, 1_000_000], [0, 25, 50, 75, 100], str, False,
)
