"""What a call costs, and what sampling costs as the number of features grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tallydraw as td

__all__ = ["DRAWN", "Curve", "cost_curves", "seconds"]

DRAWN = 10_000  # images drawn for each point of a curve
CELL_BYTES = 8  # a probability of the full table


def seconds(call: Callable[[], object], budget: float) -> float:
    """The best of up to twenty runs, of fewer where they take longer than `budget` seconds together."""
    best, begun = float("inf"), time.perf_counter()
    for _ in range(20):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        best = min(best, end - start)
        if end - begun > budget:
            break
    return best


@dataclass(frozen=True)
class Curve:
    """Seconds to fit, build and draw, at each number of features."""

    levels: int
    full: bool  # the full joint table, up to its memory limit; else the factorised model
    features: list[int]
    seconds: list[float]


def cost_curves(
    images: NDArray[np.uint8], binary: NDArray[np.uint8], max_bytes: int, seed: int, budget: float
) -> list[Curve]:
    """The full joint table, up to its memory limit, and the factorised model: the d most varied pixels, one thread."""
    order = np.argsort(-images.var(axis=0), kind="stable")
    d = images.shape[1]
    doubling = [2**i for i in range(d.bit_length()) if 2**i <= d]
    curves = []
    for pixels, levels, steps in ((images, 17, range(1, d + 1)), (binary, 2, [*range(1, 20, 3), *range(20, d + 1)])):
        ranked = np.ascontiguousarray(pixels[:, order])
        _full(ranked[:, :2], levels, max_bytes, seed)  # warm-up
        _factorised(ranked[:, :2], levels, seed)
        fits = [size for size in steps if levels**size * CELL_BYTES <= max_bytes]
        full = [seconds(partial(_full, ranked[:, :size], levels, max_bytes, seed), budget) for size in fits]
        factorised = [seconds(partial(_factorised, ranked[:, :size], levels, seed), budget) for size in doubling]
        curves += [Curve(levels, True, fits, full), Curve(levels, False, doubling, factorised)]
    return curves


def _full(X: NDArray[np.uint8], levels: int, max_bytes: int, seed: int) -> Any:
    table = td.JointTable(n_categories=levels, alpha=1).fit(X, n_threads=1).dense(max_bytes=max_bytes)
    return td.sample_categories(table.ravel(), DRAWN, rng=seed, n_threads=1)


def _factorised(X: NDArray[np.uint8], levels: int, seed: int) -> Any:
    return td.NaiveBayes(n_categories=levels, alpha=1).fit(X, n_threads=1).sample(DRAWN, rng=seed, n_threads=1)
