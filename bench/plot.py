"""Pictures of the figures: python bench/plot.py FIGURES.json DIRECTORY

Writes ``rates.svg`` (each work beside its peers, as multiples of Postfix) and ``latency.svg`` (the time of a 250, by
rate).
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

COLOURS = {"smtpeter": "#2563eb", "Postfix": "#9ca3af", "aiosmtpd": "#d97706", "p50": "#2563eb", "p99": "#dc2626"}
WIDTH, LEFT, RIGHT, BAR, FONT = 760, 270, 70, 16, 13


def svg(height: float, parts: list[str]) -> str:
    """A picture of its own, readable on light and dark pages."""
    style = f"font-family:sans-serif;font-size:{FONT}px;fill:#111827"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" style="{style}">'
    return "\n".join((head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>', *parts, "</svg>\n"))


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def legend(names: list[str], y: float) -> list[str]:
    """A coloured square and its name, in a row."""
    parts = []
    for number, name in enumerate(names):
        x = LEFT + number * 110
        parts.append(f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{COLOURS[name]}"/>')
        parts.append(text(x + 16, y, name))
    return parts


def rates(works: dict[str, dict[str, dict[str, float]]]) -> str:
    """Bars: how many times as many messages a second as Postfix."""
    names = list(dict.fromkeys(name for servers in works.values() for name in servers))
    parts, y = legend(names, 20), 44.0
    longest = max(
        figures["rate"] / servers["Postfix"]["rate"] for servers in works.values() for figures in servers.values()
    )
    for work, servers in works.items():
        parts.append(text(LEFT - 10, y + BAR * len(servers) / 2 + 4, work, "end"))
        for name, figures in servers.items():
            ratio = figures["rate"] / servers["Postfix"]["rate"]
            length = (WIDTH - LEFT - RIGHT - 60) * ratio / longest
            parts.append(
                f'<rect x="{LEFT}" y="{y:.1f}" width="{length:.1f}" height="{BAR - 3}" fill="{COLOURS[name]}"/>'
            )
            parts.append(text(LEFT + length + 6, y + 11, f"{ratio:.1f}x   {figures['rate']:,.0f}/s"))
            y += BAR
        y += 14
    return svg(y, parts)


def latency(lines: list[dict[str, float]]) -> str:
    """Lines: median and 99th percentile of the time from the final dot to its 250, by messages a second."""
    height, top, bottom, left, right = 320, 40, 270, 60, WIDTH - 30
    most_rate = max(line["rate"] for line in lines) * 1.05
    most_time = max(50.0, *(line["p99"] for line in lines)) * 1.1

    def place(rate: float, time: float) -> tuple[float, float]:
        return left + (right - left) * rate / most_rate, bottom - (bottom - top) * time / most_time

    parts = legend(["p50", "p99"], 20)
    for time in range(0, int(most_time) + 1, 10):
        y = place(0, time)[1]
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(text(left - 8, y + 4, f"{time} ms", "end"))
    for key in ("p50", "p99"):
        points = " ".join("{:.1f},{:.1f}".format(*place(line["rate"], line[key])) for line in lines)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[key]}" stroke-width="2"/>')
    for line in lines:
        parts.append(text(place(line["rate"], 0)[0], bottom + 20, f"{line['rate']:,.0f}", "middle"))
    parts.append(text((left + right) / 2, bottom + 42, "messages a second, 50 sessions", "middle"))
    return svg(height, parts)


def main() -> None:
    figures: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    directory = Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rates.svg").write_text(rates(figures["works"]))
    (directory / "latency.svg").write_text(latency(figures["pace"]))


if __name__ == "__main__":
    main()
