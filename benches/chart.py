# Draws the charts of docs/ as SVG text that reads well on a light and on a dark page.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two kinds of chart: bars, and lines over logarithmic axes. Both return the text of an SVG file."""

import math
from xml.sax.saxutils import escape

WIDTH = 760
# Told apart by those who see red and green alike as well (Okabe and Ito), the marks also without colour.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f"]
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .small { font-size: 12px; fill: #59636e }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .axis { stroke: #59636e; stroke-width: 1 }
  .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .small { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .axis { stroke: #9198a1 }
    .paper { fill: #0d1117 }
  }
"""


def text(x, y, words, anchor="start", kind="", extra=""):
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{named}{extra}>{escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def page(title, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    paper = f'<rect width="{WIDTH}" height="{height}" rx="6" class="paper"/>'
    heading = text(16, 28, title, kind="title")
    body = "\n".join([f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", paper, heading, *parts])
    return f"{head}\n{body}\n</svg>\n"


def number(value):
    """A number in three digits, as a reader would write it."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = f"{round(value, digits):,.{digits}f}"
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def bars(title, unit, rows):
    """Bars of (name, least, middle, most): as long as the middle, with a mark from least to most."""
    left, right, top, step = 210, 80, 48, 30
    scale = (WIDTH - left - right) / max(most for _, _, _, most in rows)
    bottom = top + step * len(rows)
    parts = []
    tick = nice_step(max(most for _, _, _, most in rows))
    value = 0
    while value * scale <= WIDTH - left - right:
        x = left + value * scale
        parts += [line(x, top, x, bottom, "grid"), text(x, bottom + 18, f"{value:,}", "middle", "small")]
        value += tick
    for index, (name, least, middle, most) in enumerate(rows):
        y = top + index * step + 5
        colour = COLOURS[0] if name.startswith("XDP") else COLOURS[6]
        parts.append(text(left - 10, y + 15, name, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{middle * scale:.1f}" height="20" fill="{colour}"/>')
        parts.append(line(left + least * scale, y + 10, left + most * scale, y + 10, "axis"))
        parts.append(text(left + most * scale + 8, y + 15, number(middle)))
    parts += [line(left, top, left, bottom, "axis"), text(16, bottom + 38, unit, kind="small")]
    return page(title, bottom + 50, parts)


def nice_step(largest):
    rough = largest / 6
    power = 10 ** math.floor(math.log10(rough))
    return int(next(power * n for n in (1, 2, 5, 10) if power * n >= rough))


def lines(title, x_name, y_name, series):
    """Lines through (x, y) over logarithmic axes, each with its name at its end. `series` maps a name to its points."""
    left, right, top, height = 70, 190, 56, 340
    points = [point for each in series.values() for point in each]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    bottom, wide = top + height, WIDTH - left - right

    def place(x, y):
        across = math.log(x / x_low) / math.log(x_high / x_low)
        return left + across * wide, bottom - math.log(y / y_low) / math.log(y_high / y_low) * height

    parts = []
    for value in decades(x_low, x_high):
        x, _ = place(value, y_low)
        parts += [line(x, top, x, bottom, "grid"), text(x, bottom + 18, number(value), "middle", "small")]
    for value in decades(y_low, y_high):
        _, y = place(x_low, value)
        parts += [line(left, y, left + wide, y, "grid"), text(left - 8, y + 4, number(value), "end", "small")]
    ends = spread_out([(place(*each[-1])[1], name) for name, each in series.items()])
    for index, (name, each) in enumerate(series.items()):
        colour, x_end = COLOURS[index % len(COLOURS)], left + wide
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in each))
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in (place(*p) for p in each)]
        x_last, y_last = place(*each[-1])
        link = f"M{x_last:.1f},{y_last:.1f} L{x_end + 12},{ends[name]:.1f}"
        parts.append(f'<path d="{link}" stroke="{colour}" stroke-width="1" fill="none"/>')
        parts.append(text(x_end + 16, ends[name] + 4, name))
    parts += [line(left, bottom, left + wide, bottom, "axis"), line(left, top, left, bottom, "axis")]
    parts += [text(left + wide / 2, bottom + 38, x_name, "middle", "small"), text(16, 46, y_name, kind="small")]
    return page(title, bottom + 50, parts)


def decades(low, high):
    return [10**n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def spread_out(ends, gap=17):
    """Moves labels down until no two lie on each other."""
    places, last = {}, -math.inf
    for y, name in sorted(ends):
        last = max(y, last + gap)
        places[name] = last
    return places
