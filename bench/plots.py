"""What was measured, as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

from bench.contest import KAPOK, TITLES
from bench.report import COURSES, SCALES, Report

_WIDTH = 800
_PANEL_WIDTH, _PANEL_HEIGHT = 300, 130  # of a curve
_STYLE = (
    "<style>.b{fill:#fff}text{fill:#222}.h{font-weight:bold}.n{text-anchor:end}.m{text-anchor:middle}"
    ".f{font-size:11px;fill:#666}.own{fill:#c0392b}.peer{fill:#9aa5b1}.s{stroke:#222;stroke-width:1.5;fill:none}"
    ".c{stroke:#c0392b;stroke-width:2;fill:none}.g{stroke:#ddd;fill:none}</style>"
)


def svg(report: Report) -> str:
    """The throughput of the contestants, and how the cost grows with the work; of these what was measured."""
    lines, y = list[str](), 0
    for section, draw in (("throughput", _throughput), ("scaling", _scaling)):
        if section in report:
            drawn, y = draw(report, y + 26)
            lines += drawn
    on = report["machine"]
    about = f"median of {report['rounds']} rounds; {on['cores']} cores ({on['cpu']})"
    lines.append(f'<text class="f" x="12" y="{y}">{escape(about)}</text>')
    size = f'viewBox="0 0 {_WIDTH} {y + 12}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, _STYLE, f'<rect class="b" width="{_WIDTH}" height="{y + 12}"/>', *lines, "</svg>\n"])


def _throughput(report: Report, y: int) -> tuple[list[str], int]:
    """A bar for each contestant's median, a line from its slowest to its fastest round; and where they end."""
    left, width, bar, gap = 250, 420, 16, 8
    lines: list[str] = []
    for course, heading in COURSES.items():
        rates = {name: by[course] for name, by in report["throughput"].items() if course in by}
        if not rates:
            continue
        most = max(report["spread"][name][course][1] for name in rates) or 1.0
        told = f"{heading}: readings a second; line: slowest to fastest round; (kapok ÷ it); one worker"
        lines.append(f'<text class="h" x="12" y="{y}">{told}</text>')
        y += 14
        for name, rate in sorted(rates.items(), key=lambda pair: -pair[1]):
            low, high = (left + width * value / most for value in report["spread"][name][course])
            middle, kind = y + bar / 2, "own" if name.startswith(KAPOK) else "peer"
            ratio = report["ratios"].get(name, {}).get(course)
            told = _short(rate) + (f"  ({ratio:.1f}×)" if ratio and kind == "peer" else "")
            lines.append(f'<text class="n" x="{left - 8}" y="{y + 12}">{escape(TITLES[name])}</text>')
            lines.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{width * rate / most:.1f}" height="{bar}"/>')
            lines.append(f'<path class="s" d="M{low:.1f} {middle}H{high:.1f}"/>')
            lines.append(f'<text x="{high + 8:.1f}" y="{y + 12}">{told}</text>')
            y += bar + gap
        y += 26
    return lines, y - 8


def _scaling(report: Report, y: int) -> tuple[list[str], int]:
    """A curve for each thing that grows: where it is level or rises, cost grows as the work does, or less; and where
    they end.
    """
    told = "readings a second, by how many there are of something: level is linear, rising is better"
    lines = [f'<text class="h" x="12" y="{y}">{told}</text>']
    for number, (name, title) in enumerate(SCALES.items()):
        left, top = 62 + number % 2 * (_PANEL_WIDTH + 90), y + 36 + number // 2 * (_PANEL_HEIGHT + 70)
        rates = report["scaling"][name]
        if name == "rules":  # each reading goes through all of them
            title, rates = "rules; readings × rules a second", {at: int(at) * rate for at, rate in rates.items()}
        lines += _curve(rates, title, left, top)
    return lines, y + 36 + (len(SCALES) + 1) // 2 * (_PANEL_HEIGHT + 70)


def _curve(rates: Mapping[str, float], title: str, left: float, top: float) -> list[str]:
    """Its numbers on a logarithmic scale, its rates from zero."""
    most, bottom = max(rates.values()) or 1.0, top + _PANEL_HEIGHT
    first, last = (math.log(edge(map(int, rates))) for edge in (min, max))
    lines = [f'<text x="{left}" y="{top - 10}">{escape(title)}</text>']
    points = []
    for at, rate in rates.items():
        x = left + _PANEL_WIDTH * ((math.log(int(at)) - first) / (last - first) if last > first else 0.5)
        height = bottom - _PANEL_HEIGHT * rate / most
        points.append(f"{x:.1f} {height:.1f}")
        lines.append(f'<path class="g" d="M{x:.1f} {top}V{bottom}"/>')
        lines.append(f'<text class="m" x="{x:.1f}" y="{bottom + 16}">{int(at):,}</text>')
        lines.append(f'<circle class="own" cx="{x:.1f}" cy="{height:.1f}" r="3"/>')
        beside = height + 16 if height < bottom - 20 else height - 8
        lines.append(f'<text class="m f" x="{x:.1f}" y="{beside:.1f}">{_short(rate)}</text>')
    lines.append(f'<path class="g" d="M{left} {bottom}H{left + _PANEL_WIDTH}"/>')
    lines.append(f'<path class="c" d="M{"L".join(points)}"/>')
    return lines


def _short(rate: float) -> str:
    return f"{rate / 1e6:.2f} M" if rate >= 1e6 else f"{rate / 1e3:.0f} k" if rate >= 1e4 else f"{rate / 1e3:.1f} k"
