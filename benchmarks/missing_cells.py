"""What missing cells cost: scores of rows with them, relative to the same rows without, on chains and trees.

    python benchmarks/missing_cells.py [cpp|numba]

One thread, in CPU time; the best of several calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tallydraw as td

SEED, CELLS, SHARES, REPEATS = 20110607, 20_000_000, (0.1, 0.3), 9


def seconds(call: Callable[[], Any]) -> float:
    call()
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.thread_time()
        call()
        best = min(best, time.thread_time() - begin)
    return best


def main() -> None:
    if len(sys.argv) > 1:
        td.backend.use(sys.argv[1])
    rng = np.random.default_rng(SEED)
    print("| structure | d | C | K | ns a cell and class | " + " | ".join(f"{s:.0%} missing" for s in SHARES) + " |")
    print("|---" * (5 + len(SHARES)) + "|")
    for structure in ("chain", "tree"):
        for d in (16, 180):
            for C in (2, 5, 17):
                for K in (1, 8):
                    parents = [-1, *(j - 1 if structure == "chain" else int(rng.integers(0, j)) for j in range(1, d))]
                    arrays = [rng.dirichlet(np.ones(C), (K, C) if p >= 0 else (K,)) for p in parents]
                    tables = td.Tables.from_arrays(arrays, parents=parents, n_classes=K)
                    X = rng.integers(0, C, (CELLS // (d * K), d)).astype(np.int8)
                    known = seconds(lambda X=X, t=tables: td.log_prob_features(X, t, n_threads=1))
                    ratios = []
                    for share in SHARES:
                        X_missing = np.where(rng.random(X.shape) < share, -1, X).astype(np.int8)
                        some = seconds(lambda X=X_missing, t=tables: td.log_prob_features(X, t, n_threads=1))
                        ratios.append(some / known)
                    cost = known / (X.size * K) * 1e9
                    shown = " | ".join(f"{r:.1f} ×" for r in ratios)
                    print(f"| {structure} | {d} | {C} | {K} | {cost:.2f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
