#!/usr/bin/env python3
"""Plot bytes against KL divergence: plot_quality.py TABLE.tsv > PLOT.svg

TABLE has a line a file, divided by tabs: preset, by, bytes, mean KLD. Both axes are logarithmic. No library is needed.
"""
import math
import sys

WIDTH, HEIGHT = 860, 560
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 40, 64
COLOURS = ["#0b6e4f", "#c1440e", "#31508c", "#7a5c00"]


def read(path):
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 4:
                sys.exit(f"{path}:{number}: {len(fields)} fields, expected preset, by, bytes, KLD")
            size, kld = float(fields[2]), float(fields[3])
            if size <= 0 or kld <= 0:
                sys.exit(f"{path}:{number}: bytes and KLD must be above 0")
            rows.append((fields[0], fields[1], size, kld))
    if not rows:
        sys.exit(f"{path}: no lines")
    return rows


def axis(values):
    """Logarithms of the ends, with some room."""
    low, high = math.log(min(values)), math.log(max(values))
    room = max(0.05, 0.06 * (high - low))
    return low - room, high + room


def ticks(low, high, steps):
    """Round numbers in the range."""
    found = []
    for power in range(math.floor(low / math.log(10)) - 1, math.ceil(high / math.log(10)) + 1):
        found += [step * 10.0**power for step in steps if low <= math.log(step * 10.0**power) <= high]
    return found


class Plot:
    def __init__(self, rows):
        self.rows = rows
        self.x_range = axis([row[2] for row in rows])
        self.y_range = axis([row[3] for row in rows])
        self.out = []

    def x(self, size):
        low, high = self.x_range
        return LEFT + (math.log(size) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, kld):
        low, high = self.y_range
        return HEIGHT - BOTTOM - (math.log(kld) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, text, anchor="middle", more=""):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{text}</text>')

    def grid(self):
        for size in ticks(*self.x_range, [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]):
            x = self.x(size)
            self.out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" class="grid"/>')
            self.text(x, HEIGHT - BOTTOM + 18, f"{size / 1e6:g}")
        for kld in ticks(*self.y_range, [1, 2, 5]):
            y = self.y(kld)
            self.out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" class="grid"/>')
            self.text(LEFT - 8, y + 4, f"{kld:g}", "end")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "size of the file, MB")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.text(20, middle, "mean KL divergence, nat per token", more=f' transform="rotate(-90 20 {middle:.1f})"')

    def series(self, index, by):
        colour = COLOURS[index % len(COLOURS)]
        for preset, _, size, kld in (row for row in self.rows if row[1] == by):
            self.out.append(f'<circle cx="{self.x(size):.1f}" cy="{self.y(kld):.1f}" r="4" fill="{colour}">'
                            f"<title>{preset}, {by}: {size:.0f} bytes, KLD {kld:g}</title></circle>")
            if index == 0:
                self.text(self.x(size) - 7, self.y(kld) + 12, preset, "end", ' class="label"')
        self.out.append(f'<circle cx="{LEFT + 20 + 120 * index}" cy="{TOP - 18}" r="4" fill="{colour}"/>')
        self.text(LEFT + 30 + 120 * index, TOP - 14, by, "start")

    def svg(self):
        self.grid()
        for index, by in enumerate(dict.fromkeys(row[1] for row in self.rows)):
            self.series(index, by)
        style = ("text{font:12px sans-serif;fill:#222}.label{font-size:10px;fill:#555}"
                 ".grid{stroke:#ddd;stroke-width:1}")
        return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
                          f"<style>{style}</style>", f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
                          *self.out, "</svg>"])


if len(sys.argv) != 2:
    sys.exit(__doc__)
print(Plot(read(sys.argv[1])).svg())
