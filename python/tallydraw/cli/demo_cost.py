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


def seconds(call: Callable[[], object]) -> float:
    """The best of up to three runs, of fewer where they take longer than a second together."""
    best, begun = float("inf"), time.perf_counter()
    for _ in range(3):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        best = min(best, end - start)
        if end - begun > 1.0:
            break
    return best


@dataclass(frozen=True)
class Curve:
    """Seconds to fit, build and draw, at each number of features."""

    levels: int
    full: bool  # the full joint table, up to its memory limit; else the factorised model
    features: list[int]
    seconds: list[float]


def cost_curves(images: NDArray[np.uint8], binary: NDArray[np.uint8], max_bytes: int, seed: int) -> list[Curve]:
    """The full joint table, until its memory limit, and the factorised model on the d most varied pixels."""
    order = np.argsort(-images.var(axis=0), kind="stable")
    d = images.shape[1]
    doubling = [2**i for i in range(d.bit_length()) if 2**i <= d]
    curves = []
    for pixels, levels, steps in ((images, 17, range(1, d + 1)), (binary, 2, [*range(1, 20, 3), *range(20, d + 1)])):
        ranked = np.ascontiguousarray(pixels[:, order])
        _full(ranked[:, :2], levels, max_bytes, seed)  # warm-up
        _factorised(ranked[:, :2], levels, seed)
        fits = [size for size in steps if levels**size * CELL_BYTES <= max_bytes]
        full = [seconds(partial(_full, ranked[:, :size], levels, max_bytes, seed)) for size in fits]
        factorised = [seconds(partial(_factorised, ranked[:, :size], levels, seed)) for size in doubling]
        curves += [Curve(levels, True, fits, full), Curve(levels, False, doubling, factorised)]
    return curves


def _full(X: NDArray[np.uint8], levels: int, max_bytes: int, seed: int) -> Any:
    table = td.JointTable(n_categories=levels, alpha=1).fit(X).dense(max_bytes=max_bytes)
    return td.sample_categories(table.ravel(), DRAWN, rng=seed)


def _factorised(X: NDArray[np.uint8], levels: int, seed: int) -> Any:
    return td.NaiveBayes(n_categories=levels, alpha=1).fit(X).sample(DRAWN, rng=seed)
