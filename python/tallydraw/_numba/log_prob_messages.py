"""Missing cells summed out on a tree: the twin of log_prob_messages.hpp, which says what each feature adds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import encode
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._numba.scaled import make_scaled, sum_of_products
from tallydraw._structure import Structure


@kernel
def _messages(
    plain, codes, rows, n_categories, n_contexts, offsets, context_begin, context, order,
    probabilities, logs, log_offsets, first, begin, out,
):  # fmt: skip
    d = len(n_categories)
    k = out.shape[1]
    added = np.empty(d, np.float64)
    loud = np.empty(d, np.bool_)
    below_m = np.empty(begin[d], np.float64)
    below_e = np.empty(begin[d], np.int64)
    for i in range(len(rows)):
        for c in range(k):
            for j in range(d):
                loud[j] = False
            for t in range(d - 1, -1, -1):  # children before parents
                j = order[t]
                n = n_categories[j]
                has_parent = context_begin[j + 1] > context_begin[j]
                parent = context[context_begin[j]] if has_parent else np.int64(-1)
                missing = plain[i, j] == n
                parent_missing = has_parent and plain[i, parent] == n_categories[parent]
                theta = offsets[j] + c * n_contexts[j] * n
                added[j] = 0.0
                if missing and not loud[j]:
                    continue
                if not parent_missing:
                    if missing:
                        row = np.int64(plain[i, parent]) if has_parent else np.int64(0)
                        m, e = sum_of_products(probabilities, theta + row * n, 1, below_m, below_e, begin[j], n)
                        added[j] = log_scaled_of(m, e)
                    else:
                        added[j] = logs[log_offsets[j] + np.int64(codes[i, j]) * k + c]
                    continue
                above = begin[parent]
                for a in range(n_categories[parent]):
                    row = theta + a * n
                    if missing:
                        m, e = sum_of_products(probabilities, row, 1, below_m, below_e, begin[j], n)
                    else:
                        m, e = make_scaled(probabilities[row + plain[i, j]], np.int64(0))
                    if loud[parent]:
                        m, e = make_scaled(below_m[above + a] * m, below_e[above + a] + e)
                    below_m[above + a] = m
                    below_e[above + a] = e
                loud[parent] = True
            total = first[c]
            for j in range(d):  # left to right
                total += added[j]
            out[rows[i], c] = total


def log_prob_messages(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    probabilities: NDArray[np.float64],
    logs: NDArray[np.float64],
    log_offsets: NDArray[np.int64],
    first: NDArray[np.float64],
    rows: NDArray[np.int64],
    out: NDArray[np.float64],
    threads: int,
) -> None:
    s = structure
    begin = np.concatenate([[0], np.cumsum(s.n_categories)])

    def score(a: int, b: int, piece: int) -> None:
        some = rows[a:b]
        encoded = encode(X[some], missing, unseen_is_missing, s)
        _messages(
            encoded.plain, encoded.codes, some, s.n_categories, s.n_contexts, s.offsets, s.context_begin, s.context,
            s.order, probabilities, logs, log_offsets, first, begin, out,
        )  # fmt: skip

    parallel_blocks(len(rows), max(16, min(4096, -(-len(rows) // threads))), threads, score)
