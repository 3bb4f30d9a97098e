"""A step of EM of a mixture of products: the twin of count_posterior.hpp, which says why threads may count apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import parts_at_once
from tallydraw._numba.count_features import soft_adder
from tallydraw._numba.log_prob_features import log_adder
from tallydraw._numba.parallel import parallel_blocks, worth
from tallydraw._numba.posterior import weigh_posterior
from tallydraw._structure import Structure

_CELLS = 1 << 15  # of scores that are made at once: in the second-level cache


def count_posterior(
    codes: NDArray[np.uint8],
    structure: Structure,
    logs: NDArray[np.float64],
    lane_offsets: NDArray[np.int64],
    first: NDArray[np.float64],
    prior: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    grid: float,
    evidence: NDArray[np.float64],
    lanes: NDArray[np.float64],
    threads: int,
) -> None:
    n, k = len(codes), structure.n_classes
    lane_rows = structure.n_categories + 1
    parts = [(c, log_adder(w, rest), soft_adder(w, rest)) for c, w, rest in parts_at_once(k)]
    step = max(1, _CELLS // k)
    weight = np.ones(1) if weights is None else weights

    def piece(a: int, b: int, _: int) -> NDArray[np.float64]:
        counts, scores, most = np.zeros(len(lanes)), np.empty((min(step, b - a), k)), np.empty(step)
        for p in range(a, b, step):
            q = min(b, p + step)
            some, rows = scores[: q - p], codes[p:q]
            for c, add_logs, _ in parts:
                add_logs(rows, 0, c, logs, lane_offsets, lane_rows, first, some)
            own = weight if weights is None else weight[p:q]
            weigh_posterior(some.reshape(-1), k, prior, weights is not None, own, grid, most, evidence[p:q])
            for c, _, add_weights in parts:
                add_weights(rows, 0, rows.shape[1], c, lane_offsets, lane_rows, some, counts)
        return counts

    threads = worth(threads, n * k)
    for counts in parallel_blocks(n, max(1, -(-n // threads)), threads, piece):
        lanes += counts
