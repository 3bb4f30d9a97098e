"""How the cost of each verb grows: with rows n, features d, categories C and threads.

python benchmarks/scaling.py [figure.png]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tallydraw as td
from bench_joint_vs_product import seconds, slope
from workloads import SEED, SIZE, THREADS

MOST_DRAWS = {"quick": 10**5, "medium": 10**8, "full": 10**9}[SIZE]
MOST_CELLS = {"quick": 10**5, "medium": 10**8, "full": 10**9}[SIZE]  # of rows of codes: 10**7 rows of 100
FEATURES, CATEGORIES, CLASSES = 100, 8, 4
ROWS = MOST_CELLS // 1000
# Where strategies change: comparisons, guide tables, tables of 16- and 32-bit outcomes, tables that leave the caches.
EVERY_C = (2, 3, 4, 5, 8, 16, 17, 32, 64, 128, 256, 257, 512, 513, 1024, 4096, 16384, 65536, 65537, 2**18, 2**20)
DRAWS = MOST_DRAWS // 10
VERBS = ("count_features", "sample_features", "log_prob_features")


@dataclass(frozen=True)
class Curve:
    """ns an item of one verb, against what grows."""

    verb: str
    x: list[float]
    ns: list[float]


def tables_of(d: int, C: int) -> td.Tables:
    theta = np.random.default_rng(SEED).dirichlet(np.ones(C), (d, CLASSES))
    return td.Tables.from_arrays(list(theta), n_classes=CLASSES)


def call_of(verb: str, n: int, d: int, C: int, threads: int) -> Callable[[], Any]:
    """One call on n rows of d features; the inputs are made here, outside what is timed."""
    theta = tables_of(d, C)
    y = np.random.default_rng(SEED).integers(0, CLASSES, n)
    if verb == "sample_features":
        out = np.empty((n, d), np.min_scalar_type(C - 1))
        return lambda: td.sample_features(theta, n, y=y, rng=SEED, out=out, n_threads=threads)
    X = td.sample_features(theta, n, y=y, rng=SEED)
    if verb == "count_features":
        return lambda: td.count_features(X, y=y, n_categories=C, n_classes=CLASSES, n_threads=threads)
    return lambda: td.log_prob_features(X, theta, n_threads=threads)


def draws_of(n: int, C: int, threads: int) -> Callable[[], Any]:
    p, out = np.random.default_rng(SEED).dirichlet(np.ones(C)), np.empty(n, np.min_scalar_type(C - 1))
    return lambda: td.sample_categories(p, n, rng=SEED, out=out, n_threads=threads)


def over_n() -> list[Curve]:
    """ns a cell (a draw) against cells (draws) of one call."""
    curves = []
    sizes = [10**e for e in range(2, len(str(MOST_DRAWS)))]
    times = [seconds(draws_of(n, 256, THREADS)) / n * 1e9 for n in sizes]
    curves.append(Curve("sample_categories", list(map(float, sizes)), times))
    for verb in VERBS:
        sizes = [10**e for e in range(3, len(str(MOST_CELLS)))]
        times = [seconds(call_of(verb, n // FEATURES, FEATURES, CATEGORIES, THREADS)) / n * 1e9 for n in sizes]
        curves.append(Curve(verb, list(map(float, sizes)), times))
    return curves


def over_d() -> list[Curve]:
    """ns a row against its features."""
    every = [d for d in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if ROWS * d <= MOST_CELLS]
    return [
        Curve(
            verb,
            list(map(float, every)),
            [seconds(call_of(verb, ROWS, d, CATEGORIES, THREADS)) / ROWS * 1e9 for d in every],
        )
        for verb in VERBS
    ]


def over_C() -> list[Curve]:
    """ns a draw, or a cell, against categories."""
    curves = [
        Curve(
            "sample_categories",
            list(map(float, EVERY_C)),
            [seconds(draws_of(DRAWS, C, THREADS)) / DRAWS * 1e9 for C in EVERY_C],
        )
    ]
    few = [C for C in EVERY_C if C <= 1024]
    cells = ROWS * FEATURES
    for verb in VERBS:
        times = [seconds(call_of(verb, ROWS, FEATURES, C, THREADS)) / cells * 1e9 for C in few]
        curves.append(Curve(verb, list(map(float, few)), times))
    return curves


def over_threads(threads: int) -> list[Curve]:
    """How many times faster than one thread."""
    cores = list(range(1, threads + 1))
    curves = []
    calls: dict[str, Callable[[int], Callable[[], Any]]] = {"sample_categories": lambda t: draws_of(DRAWS, 256, t)}
    for verb in VERBS:
        calls[verb] = lambda t, verb=verb: call_of(verb, ROWS, FEATURES, CATEGORIES, t)  # type: ignore[misc]
    for verb, make in calls.items():
        times = [seconds(make(t)) for t in cores]
        curves.append(Curve(verb, list(map(float, cores)), [times[0] / t for t in times]))
    return curves


def measure(threads: int = THREADS) -> dict[str, list[Curve]]:
    return {"n": over_n(), "d": over_d(), "C": over_C(), "threads": over_threads(threads)}


def tables(found: dict[str, list[Curve]]) -> list[str]:
    """Exponents fitted over the larger half (1 is linear), the largest step between neighbours in C, speed-ups."""
    lines = [
        f"Time of a call grows with n as the power given, at up to {MOST_DRAWS:,} draws (C = 256) and {MOST_CELLS:,} "
        f"cells (rows of {FEATURES} features, C = {CATEGORIES}, {CLASSES} classes); with d likewise.",
        "",
        "| verb | n | d | 16 to 17 categories | 256 to 257 | most threads against one |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    by_d = {c.verb: c for c in found["d"]}
    by_C = {c.verb: c for c in found["C"]}
    by_threads = {c.verb: c for c in found["threads"]}
    for curve in found["n"]:
        grows = slope(curve.x, [x * ns for x, ns in zip(curve.x, curve.ns, strict=True)])
        d = by_d.get(curve.verb)
        C = dict(zip(by_C[curve.verb].x, by_C[curve.verb].ns, strict=True))
        with_d = "–" if d is None else f"{slope(d.x, d.ns):.2f}"
        lines.append(
            f"| {curve.verb} | {grows:.2f} | {with_d} | {C[17] / C[16]:.2f} × | {C[257] / C[256]:.2f} × | "
            f"{by_threads[curve.verb].ns[-1]:.2f} × |"
        )
    return lines


def figure(found: dict[str, list[Curve]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = {
        "n": ("cells, or draws, of one call", "ns a cell"),
        "d": (f"features d of {ROWS:,} rows", "ns a row"),
        "C": ("categories C", "ns a cell"),
        "threads": ("threads", "times faster than one"),
    }
    fig, axes = pyplot.subplots(1, 4, figsize=(18, 4.2), constrained_layout=True)
    for axis, (what, curves) in zip(axes, found.items(), strict=True):
        for k, curve in enumerate(curves):
            color = f"C{('sample_categories', *VERBS).index(curve.verb)}"
            if what == "threads":
                axis.bar([x + 0.2 * k for x in curve.x], curve.ns, 0.18, color=color, label=curve.verb)
            else:
                axis.plot(curve.x, curve.ns, "o-", color=color, label=curve.verb, markersize=4)
        axis.set(xlabel=labels[what][0], ylabel=labels[what][1])
        if what != "threads":
            axis.set(xscale="log", yscale="log")
    axes[0].legend(fontsize=7)
    fig.suptitle(f"Cost against rows, features, categories and threads ({THREADS} threads but in the last)")
    fig.savefig(path, dpi=130)
    pyplot.close(fig)


if __name__ == "__main__":
    measured = measure()
    print("\n".join(tables(measured)))
    if len(sys.argv) > 1:
        figure(measured, sys.argv[1])
