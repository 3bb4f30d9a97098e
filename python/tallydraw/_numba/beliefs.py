"""The downward pass after messages.py: the twin of beliefs.hpp, which says what is spread."""

from __future__ import annotations

import numpy as np

from tallydraw._numba.messages import context_rows, known_context, products, send_messages
from tallydraw._numba.parallel import inline


@inline
def spread_beliefs(plain, s, x, probabilities, c, m, n_touched, beliefs, feature, code, belief):
    """Lists feature, combined code and belief, in the order of the twin; how many."""
    told = 0
    for i in range(n_touched):
        j = m.touched[i]
        n = s.n_categories[j]
        missing = x[j] == n
        theta = s.offsets[j] + c * s.n_contexts[j] * n
        b, width = m.begin[j], m.begin[j + 1] - m.begin[j]
        for w in range(width):
            beliefs[b + w] = 0.0
        known = known_context(s, x, j)
        rows = np.int64(1)
        source = np.int64(0)
        if known >= 0:
            m.rows[0] = known
        else:
            rows = context_rows(s, x, j, m.rows)
            source = m.begin[s.context[s.context_begin[j + 1] - 1]]
        for r in range(rows):
            a = m.rows[r]
            p = 1.0 if known >= 0 else beliefs[source + a]
            if p == 0.0:
                continue
            w = b + a * n % width if width > 0 else b
            first, last = np.int64(0), n
            total = 1.0
            if not missing:
                first = np.int64(x[j])
                last = first + 1
            elif m.loud[j]:
                products(plain, probabilities, theta + a * n, m.below_m, m.below_e, w, n, m.terms)
                total = 0.0
                for v in range(n):
                    total += m.terms[v]
                if total == 0.0:
                    continue
            for v in range(first, last):
                q = p
                if missing:
                    q = p * (m.terms[v] / total) if m.loud[j] else p * probabilities[theta + a * n + v]
                if width > 0:
                    beliefs[w + v] += q
                feature[told], code[told], belief[told] = j, a * n + v, q
                told += 1
    return told


@inline
def pass_both_ways(
    plain, s, x, probabilities, c, m, n_touched, total_m, total_e, beliefs, feature, code, belief
):  # fmt: skip
    """Both passes over the touched features of a row under class c; how many beliefs are listed."""
    done = plain  # a variable: constants would compile the pass twice
    if plain:
        done = send_messages(done, False, s, x, probabilities, c, m, n_touched, total_m, total_e)
    if not done:
        send_messages(done, False, s, x, probabilities, c, m, n_touched, total_m, total_e)
    return spread_beliefs(done, s, x, probabilities, c, m, n_touched, beliefs, feature, code, belief)
