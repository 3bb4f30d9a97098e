"""What a full joint table costs, O(C^d), against the factorised model, O(C) a component: time and memory.

    python benchmarks/bench_joint_vs_product.py [figure.png]

Both are built from the same rows, then draw and score as many. The joint table has one pseudocount in every
combination, as a model that can draw unseen ones must; it stops at a stated limit of memory.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from workloads import SEED, SIZE, THREADS

ROWS = {"quick": 2_000, "medium": 50_000, "full": 200_000}[SIZE]
MEMORY_LIMIT = {"quick": 1 << 22, "medium": 1 << 28, "full": 1 << 31}[SIZE]  # bytes, for the joint table
BYTES_A_COMBINATION = 64  # at the peak of building it: weights, levels, guide table, logs and their temporaries
CATEGORIES = (2, 8, 256)
COMPONENTS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 32, 64, 128, 256, 512, 1024)
AT_FIXED_D = 3  # components of the comparison over C
OVER_CATEGORIES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)
MOST_PRODUCT_CELLS = {"quick": 10**5, "medium": 10**7, "full": 10**8}[SIZE]  # rows x components
REPEATS = 3


@dataclass(frozen=True)
class Cost:
    model: str
    C: int
    d: int
    build: float  # seconds from rows to a model that can draw and score
    sample: float  # ns a row drawn
    score: float  # ns a row scored
    memory: int  # bytes at the peak of building, above the rows


def rows_of(C: int, d: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, C, (ROWS, d), dtype=np.min_scalar_type(C - 1))


class Joint:
    """The table of all C**d combinations."""

    def __init__(self, X: np.ndarray, C: int) -> None:
        self.shape = (C,) * X.shape[1]
        counts = td.count_categories(self.codes(X), n_categories=C ** X.shape[1], n_threads=THREADS)
        counts += 1
        self.sampler = td.Sampler(counts)
        self.logs = np.log(counts)
        self.logs -= np.log(counts.sum())

    def codes(self, X: np.ndarray) -> np.ndarray:
        return np.ravel_multi_index(tuple(X.T), self.shape)

    def sample(self, n: int) -> np.ndarray:
        drawn = self.sampler.sample(n, rng=SEED, n_threads=THREADS)
        return np.stack(np.unravel_index(drawn, self.shape), axis=1)

    def score(self, X: np.ndarray) -> np.ndarray:
        return self.logs[self.codes(X)]


class Product:
    """One table a component."""

    def __init__(self, X: np.ndarray, C: int) -> None:
        self.theta = td.count_features(X, n_categories=C, n_threads=THREADS).normalize(alpha=1)
        self.sample(1)  # levels and logs are prepared when first asked for
        self.score(X[:1])

    def sample(self, n: int) -> np.ndarray:
        return td.sample_features(self.theta, n, rng=SEED, n_threads=THREADS)

    def score(self, X: np.ndarray) -> np.ndarray:
        return td.log_prob_features(X, self.theta, n_threads=THREADS)


def fits(model: type, C: int, d: int) -> bool:
    return C**d * BYTES_A_COMBINATION <= MEMORY_LIMIT if model is Joint else ROWS * d <= MOST_PRODUCT_CELLS


def seconds(call: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def cost(model: type, C: int, d: int) -> Cost:
    X = rows_of(C, d)
    build = seconds(lambda: model(X, C))
    tracemalloc.start()
    built = model(X, C)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sample, score = seconds(lambda: built.sample(ROWS)), seconds(lambda: built.score(X))
    return Cost(model.__name__.lower(), C, d, build, sample / ROWS * 1e9, score / ROWS * 1e9, memory)


def over_components() -> list[Cost]:
    return [
        cost(model, C, d) for C in CATEGORIES for model in (Joint, Product) for d in COMPONENTS if fits(model, C, d)
    ]


def over_categories() -> list[Cost]:
    d = AT_FIXED_D
    return [cost(model, C, d) for model in (Joint, Product) for C in OVER_CATEGORIES if fits(model, C, d)]


def slope(x: list[float], y: list[float]) -> float:
    """Of the logs, by least squares over the larger half, where constant costs no longer show; NaN for few points."""
    keep = len(x) // 2
    if len(x) - keep < 2:
        return float("nan")
    return float(np.polyfit(np.log(x[keep:]), np.log(y[keep:]), 1)[0])


def power(x: list[float], y: list[float]) -> str:
    fitted = slope(x, y)
    return "–" if np.isnan(fitted) else f"{fitted:.2f}"


def tables(by_d: list[Cost], by_C: list[Cost]) -> list[str]:
    lines = [
        f"{ROWS:,} rows; the joint table stops where it would need more than {MEMORY_LIMIT >> 20:,} MiB.",
        "",
        "| model | C | d | build, ms | memory, MiB | drawing a row, ns | scoring a row, ns |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for c in (*by_d, *by_C):
        cells = (f"{c.build * 1e3:.3g}", f"{c.memory / 2**20:.3g}", f"{c.sample:.4g}", f"{c.score:.4g}")
        lines.append(f"| {c.model} | {c.C} | {c.d} | {' | '.join(cells)} |")
    lines += ["", "Fitted slopes (cost grows as the power given):", ""]
    for C in CATEGORIES:
        joint = [c for c in by_d if c.model == "joint" and c.C == C]
        product = [c for c in by_d if c.model == "product" and c.C == C]
        size, d = [float(C**c.d) for c in joint], [float(c.d) for c in product]
        lines.append(
            f"- C = {C}: joint memory (C^d)^{power(size, [c.memory for c in joint])}, "
            f"build (C^d)^{power(size, [c.build for c in joint])}; product memory "
            f"d^{power(d, [c.memory for c in product])}, drawing d^{power(d, [c.sample for c in product])}, "
            f"scoring d^{power(d, [c.score for c in product])}"
        )
    for model in ("joint", "product"):
        some = [c for c in by_C if c.model == model]
        C = [float(c.C) for c in some]
        lines.append(
            f"- d = {AT_FIXED_D}, {model}: memory C^{power(C, [c.memory for c in some])}, "
            f"build C^{power(C, [c.build for c in some])}, drawing C^{power(C, [c.sample for c in some])}"
        )
    return lines


def figure(by_d: list[Cost], by_C: list[Cost], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(1, 4, figsize=(18, 4.2), constrained_layout=True)
    panels = (("build", "s to build"), ("memory", "bytes at the peak"), ("sample", "ns a row drawn"))
    for axis, (what, label) in zip(axes[:3], panels, strict=True):
        for C, color in zip(CATEGORIES, ("C0", "C1", "C2"), strict=True):
            for model, style in (("joint", "o-"), ("product", "s--")):
                some = [c for c in by_d if c.model == model and c.C == C]
                x, y = [c.d for c in some], [getattr(c, what) for c in some]
                axis.plot(x, y, style, color=color, label=f"{model}, C = {C}", markersize=4)
        axis.set(xscale="log", yscale="log", xlabel="components d", ylabel=label)
    for model, style in (("joint", "o-"), ("product", "s--")):
        some = [c for c in by_C if c.model == model]
        axes[3].plot([c.C for c in some], [c.sample for c in some], style, label=f"{model}, drawing", markersize=4)
    axes[3].set(xscale="log", yscale="log", xlabel=f"categories C, d = {AT_FIXED_D}", ylabel="ns a row drawn")
    axes[0].legend(fontsize=7)
    axes[3].legend(fontsize=7)
    fig.suptitle("Full joint table, O(C^d), against the factorised model, O(C) a component")
    fig.savefig(path, dpi=130)
    pyplot.close(fig)


# pytest-benchmark: the same calls, one group for each shape -----------------------------------------------------------

SHAPES = [(C, d) for C, d in ((2, 4), (2, 16), (2, 22), (8, 2), (8, 4), (8, 7), (256, 2)) if fits(Joint, C, d)]


@pytest.mark.parametrize("what", ["build", "sample", "score"])
@pytest.mark.parametrize("model", [Joint, Product])
@pytest.mark.parametrize(("C", "d"), SHAPES)
def bench_joint_vs_product(benchmark: Any, C: int, d: int, model: type, what: str) -> None:
    benchmark.group = f"joint against product: {what}, C={C} d={d}"
    X = rows_of(C, d)
    built = model(X, C)
    calls = {"build": lambda: model(X, C), "sample": lambda: built.sample(ROWS), "score": lambda: built.score(X)}
    benchmark(calls[what])


if __name__ == "__main__":
    measured = over_components(), over_categories()
    print("\n".join(tables(*measured)))
    if len(sys.argv) > 1:
        figure(*measured, sys.argv[1])
