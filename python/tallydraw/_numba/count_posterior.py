"""A step of EM of a mixture of products: the twin of count_posterior.hpp, which says why threads may count apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import part_width, parts_at_once
from tallydraw._numba.count_features import soft_adder
from tallydraw._numba.log_prob_features import log_adder
from tallydraw._numba.parallel import inline, kernel, parallel_blocks, worth
from tallydraw._numba.posterior import weigh_posterior, weigh_shares
from tallydraw._structure import Structure

_CELLS = 1 << 15  # of scores that are made at once: in the second-level cache
_part_width = inline(part_width)


@kernel
def _add_up(groups, n_codes, k, logs, lane_offsets, lane_rows, table_offsets, table_rows, table):
    """Tables of groups from the logs of features: every row so far plus the row of each further code."""
    for g in range(groups.size - 1):
        for c in range(0, k, 8):
            width, begin = _part_width(k - c), table_offsets[g] + c * table_rows[g]
            table[begin : begin + width] = 0.0
            words = width
            for j in range(groups[g], groups[g + 1]):
                own = lane_offsets[j] + c * lane_rows[j]
                for z in range(n_codes[j] - 1, -1, -1):
                    for i in range(begin, begin + words, width):
                        for lane in range(width):
                            table[i + z * words + lane] = table[i + lane] + logs[own + z * width + lane]
                words *= n_codes[j]


@kernel
def _sum_out(groups, n_codes, k, table, table_offsets, table_rows, lane_offsets, lane_rows, lanes):
    """Adds the counts of groups to those of their features, and leaves them summed out."""
    for g in range(groups.size - 1):
        for c in range(0, k, 8):
            width, begin = _part_width(k - c), table_offsets[g] + c * table_rows[g]
            words = (table_rows[g] - 1) * width
            for j in range(groups[g + 1] - 1, groups[g] - 1, -1):
                own = lane_offsets[j] + c * lane_rows[j]
                words //= n_codes[j]
                for z in range(n_codes[j]):
                    for i in range(begin, begin + words, width):
                        for lane in range(width):
                            lanes[own + z * width + lane] += table[i + z * words + lane]
                    if z > 0:
                        for i in range(begin, begin + words):
                            table[i] += table[i + z * words]


def count_posterior(
    codes: NDArray[np.uint8],
    structure: Structure,
    groups: NDArray[np.int64],
    n_codes: NDArray[np.int64],
    logs: NDArray[np.float64],
    lane_offsets: NDArray[np.int64],
    first: NDArray[np.float64],
    prior: NDArray[np.float64],
    shares: NDArray[np.float64] | None,
    weights: NDArray[np.float64] | None,
    grid: float,
    evidence: NDArray[np.float64],
    lanes: NDArray[np.float64],
    threads: int,
) -> None:
    n, k = len(codes), structure.n_classes
    lane_rows = structure.n_categories + 1
    rows = np.multiply.reduceat(n_codes, groups[:-1])
    tables = structure._replace(n_categories=rows, n_contexts=np.ones_like(rows))
    offsets, table_rows = tables.lane_offsets(), rows + 1
    table = np.empty(offsets[-1])
    if shares is None:
        _add_up(groups, n_codes, k, logs, lane_offsets, lane_rows, offsets, table_rows, table)
    parts = [(c, log_adder(w, rest), soft_adder(w, rest)) for c, w, rest in parts_at_once(k)]
    step = max(1, _CELLS // k)
    weight, weighted = np.ones(1) if weights is None else weights, weights is not None

    def piece(a: int, b: int, _: int) -> NDArray[np.float64]:
        counts, scores, most = np.zeros(len(table)), np.empty((min(step, b - a), k)), np.empty(step)
        for p in range(a, b, step):
            q = min(b, p + step)
            some, z = scores[: q - p], codes[p:q]
            own = weight[p:q] if weighted else weight
            if shares is not None:
                weigh_shares(shares[p:q], weighted, own, grid, some)
            else:
                for c, add_logs, _ in parts:
                    add_logs(z, 0, c, table, offsets, table_rows, first, some)
                weigh_posterior(some.reshape(-1), k, prior, weighted, own, grid, most, evidence[p:q])
            for c, _, add_weights in parts:
                add_weights(z, 0, z.shape[1], c, offsets, table_rows, some, counts)
        return counts

    threads = worth(threads, n * k)
    for counts in parallel_blocks(n, max(1, -(-n // threads)), threads, piece):
        _sum_out(groups, n_codes, k, counts, offsets, table_rows, lane_offsets, lane_rows, lanes)
