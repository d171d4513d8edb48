#!/usr/bin/env python3
"""Draws docs/architecture/*.svg: the crates, from what the manifests say, and the processes.

`python3 docs/architecture/draw.py` writes the drawings; with `--check` it compares them with
what it would write, and exits with 1 where they differ. Needs cargo, and nothing else.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
WIDTH, HEIGHT = 132, 34
STYLE = """<style>
text { font: 13px sans-serif; fill: #222; text-anchor: middle }
.small { font-size: 11px; fill: #555 }
rect { fill: #f6f6f4; stroke: #777 }
rect.group { fill: none; stroke: #aaa; stroke-dasharray: 5 4 }
path { fill: none; stroke: #999 }
@media (prefers-color-scheme: dark) {
text { fill: #ddd } .small { fill: #aaa } rect { fill: #2a2a2a; stroke: #999 } path { stroke: #777 }
}
</style>"""
ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 L8 4 L0 8 z" style="fill:#999;stroke:none"/></marker></defs>'
)


def svg(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    return "\n".join([head, STYLE, ARROW, *parts, "</svg>"]) + "\n"


def box(x, y, title, note="", width=WIDTH, height=HEIGHT):
    middle = x + width / 2
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>']
    line = y + (height / 2 + 5 if not note else height / 2 - 3)
    parts.append(f'<text x="{middle}" y="{line}">{title}</text>')
    for number, text in enumerate(note.split("\n") if note else []):
        parts.append(f'<text class="small" x="{middle}" y="{line + 16 + 13 * number}">{text}</text>')
    return parts


def arrow(x1, y1, x2, y2, text=""):
    parts = [f'<path d="M{x1} {y1} L{x2} {y2}" marker-end="url(#a)"/>']
    if text:
        parts.append(f'<text class="small" x="{(x1 + x2) / 2}" y="{(y1 + y2) / 2 - 5}">{text}</text>')
    return parts


def dependencies():
    """Each crate of the workspace, and those of the workspace that it is built from."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--no-deps", "--offline", "--format-version", "1"]
    answer = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True)
    packages = json.loads(answer.stdout)["packages"]
    names = {package["name"] for package in packages} - {"spa-tests", "spa-fuzz"}
    return {
        package["name"]: sorted(
            {one["name"] for one in package["dependencies"] if one["kind"] is None} & names
        )
        for package in packages
        if package["name"] in names
    }


def crates():
    """Crates in rows: each stands above all that it depends on; arrows that others imply are left out."""
    depends = dependencies()

    def reaches(name, goal):
        return any(one == goal or reaches(one, goal) for one in depends[name])

    def depth(name):
        return 1 + max((depth(one) for one in depends[name]), default=-1)

    rows = {}
    for name in sorted(depends):
        rows.setdefault(depth(name), []).append(name)
    widest = max(len(row) for row in rows.values())
    width = 20 + widest * (WIDTH + 24)
    places = {}
    for level, row in rows.items():
        left = (width - len(row) * (WIDTH + 24) + 24) / 2
        for number, name in enumerate(row):
            places[name] = (left + number * (WIDTH + 24), 20 + (max(rows) - level) * 84)
    parts = []
    for name, needs in sorted(depends.items()):
        for one in needs:
            if not any(other != one and reaches(other, one) for other in needs):
                (x1, y1), (x2, y2) = places[name], places[one]
                parts += arrow(x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2, y2)
    for name, (x, y) in sorted(places.items()):
        parts += box(x, y, name)
    return svg(width, 20 + len(rows) * 84, parts)


def processes():
    parts = ['<rect class="group" x="190" y="14" width="590" height="300" rx="6"/>']
    parts += ['<text class="small" x="485" y="308">processes of spad.service</text>']
    parts += box(10, 60, "network", "frames", 120, 52)
    parts += box(240, 50, "engine", "user spad, no capability\nLandlock, seccomp", 200, 70)
    parts += box(560, 50, "firewall writer", "user spad-fw\nCAP_NET_ADMIN", 190, 70)
    parts += box(560, 190, "command runner", "user spad-run\nSETUID, SETGID, KILL", 190, 70)
    parts += box(240, 190, "journal, audit", "opened while the engine was root", 200, 56)
    parts += box(830, 50, "nftables", "table inet spad", 140, 70)
    parts += box(830, 190, "commands, hooks", "the declared users", 140, 70)
    parts += arrow(130, 86, 240, 86, "packet ring")
    parts += arrow(440, 86, 560, 86, "messages")
    parts += arrow(440, 105, 560, 215, "messages")
    parts += arrow(340, 120, 340, 190)
    parts += arrow(750, 86, 830, 86, "netlink, nft")
    parts += arrow(750, 225, 830, 225, "exec")
    return svg(990, 330, parts)


def main():
    stale = False
    for name, text in (("crates.svg", crates()), ("processes.svg", processes())):
        path = HERE / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                print(f"{path.relative_to(TOP)} is not what the workspace says; run docs/architecture/draw.py")
                stale = True
        else:
            path.write_text(text)
    sys.exit(1 if stale else 0)


main()
