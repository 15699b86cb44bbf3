#!/usr/bin/env python3
"""Levels of the quantizers of least square error for a normal number of variance 1 (quant/kv_unit.h), and what they
lose of the true distribution of a coordinate of a random vector of length sqrt(d) in d dimensions, whose density is
(1 - t^2 / d)^((d - 3) / 2), beside quantizers made for that distribution.

Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 28 (1982): levels are the means of their cells, borders
the middles between levels, until nothing moves. Integrals by Simpson's rule. Takes ten seconds:

    scripts/lloyd_max.py
    scripts/lloyd_max.py --table     # what quant/gauss_levels.h has, by Newton's method: Lloyd's takes ages at 10 bits
"""
import math
import statistics
import sys

N = 200001


class Moments:
    """Integrals of density, t density and t^2 density from 0 to t."""

    def __init__(self, density, top):
        self.h, self.sums = top / (N - 1), [[0.0], [0.0], [0.0]]
        for i in range(N - 1):
            t, middle = i * self.h, (i + 0.5) * self.h
            points = ((t, 1), (middle, 4), (t + self.h, 1))
            for power in range(3):
                part = sum(w * p**power * density(p) for p, w in points) * self.h / 6
                self.sums[power].append(self.sums[power][-1] + part)

    def between(self, power, low, high):
        return self.at(power, high) - self.at(power, low)

    def at(self, power, t):
        i = min(int(t / self.h), N - 2)
        a, b = self.sums[power][i], self.sums[power][i + 1]
        return a + (b - a) * min(t / self.h - i, 1)


def cells(levels, top):
    borders = [0.0] + [(a + b) / 2 for a, b in zip(levels, levels[1:])] + [top]
    return zip(levels, borders, borders[1:])


def lloyd(moments, top, bits):
    """The levels above 0; those below are the same."""
    n = 2 ** (bits - 1)
    levels = [3 * (i + 0.5) / n for i in range(n)]
    while True:
        means = [moments.between(1, a, b) / moments.between(0, a, b) for _, a, b in cells(levels, top)]
        if max(abs(a - b) for a, b in zip(levels, means)) < 1e-12:
            return means
        levels = means


def error(moments, top, levels):
    loss = sum(
        moments.between(2, a, b) - 2 * v * moments.between(1, a, b) + v * v * moments.between(0, a, b)
        for v, a, b in cells(levels, top)
    )
    return loss / moments.at(2, top)


def newton(bits):
    """The levels above 0 for the normal number: where they are the means of their cells, whose integrals are known."""
    n = 2 ** (bits - 1)
    normal = statistics.NormalDist()
    levels = [math.sqrt(3) * normal.inv_cdf(0.5 + (i + 0.5) / (2 * n)) for i in range(n)]
    density = lambda t: math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    above = lambda t: math.erfc(t / math.sqrt(2)) / 2
    for _ in range(100):
        borders = [0.0] + [(a + b) / 2 for a, b in zip(levels, levels[1:])] + [math.inf]
        f, low, middle, high = [], [], [], []
        for v, a, b in zip(levels, borders, borders[1:]):
            mass, da, db = above(a) - above(b), density(a), density(b)
            mean = (da - db) / mass
            by_a, by_b = da * (mean - a) / mass, 0 if b == math.inf else db * (b - mean) / mass
            f.append(mean - v)
            low.append(by_a / 2 if a > 0 else 0)
            high.append(by_b / 2)
            middle.append(low[-1] + high[-1] - 1)
        for i in range(1, n):  # Gauss, of three diagonals
            k = low[i] / middle[i - 1]
            middle[i] -= k * high[i - 1]
            f[i] -= k * f[i - 1]
        step = [0.0] * (n + 1)
        for i in reversed(range(n)):
            step[i] = (f[i] - high[i] * step[i + 1]) / middle[i]
        levels = [v - d for v, d in zip(levels, step)]
        if max(map(abs, step)) < 1e-13:
            break
    borders = [0.0] + [(a + b) / 2 for a, b in zip(levels, levels[1:])] + [math.inf]
    square = 2 * sum(v * v * (above(a) - above(b)) for v, a, b in zip(levels, borders, borders[1:]))
    return levels, 1 - square  # of the best quantizer E (x - v)^2 = 1 - E v^2


def table():
    for bits in range(1, 11):
        levels, loss = newton(bits)
        print(f"/* {bits} bits, error {loss:.9g} */")
        for i in range(0, len(levels), 8):
            print("    " + " ".join(f"{v:.9g}f," if "." in f"{v:.9g}" else f"{v:.9g}.0f," for v in levels[i : i + 8]))


def main():
    if "--table" in sys.argv:
        return table()
    top = 12.0
    normal = Moments(lambda t: math.exp(-t * t / 2), top)
    levels = {bits: lloyd(normal, top, bits) for bits in (1, 2, 3, 4)}
    for bits, v in levels.items():
        print(f"{bits} bits, error {error(normal, top, v):.6f}: " + " ".join(f"{x:.9g}" for x in v))
    for d in (64, 128, 256):
        end = math.sqrt(d)
        sphere = Moments(lambda t: max(0.0, 1 - t * t / d) ** ((d - 3) / 2), end)
        for bits, v in levels.items():
            own = error(sphere, end, lloyd(sphere, end, bits))
            print(f"{d} dimensions, {bits} bits: error {error(sphere, end, v):.6f}, of levels made for it {own:.6f}")


if __name__ == "__main__":
    main()
