#!/usr/bin/env python3
"""Levels of the quantizers of least square error for a normal number of variance 1 (quant/kv_unit.h), and what they
lose of the true distribution of a coordinate of a random vector of length sqrt(d) in d dimensions, whose density is
(1 - t^2 / d)^((d - 3) / 2), beside quantizers made for that distribution.

Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 28 (1982): levels are the means of their cells, borders
the middles between levels, until nothing moves. Integrals by Simpson's rule. Takes ten seconds:

    scripts/lloyd_max.py
"""
import math

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


def main():
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
