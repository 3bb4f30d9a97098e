"""Weights of rows added to lanes under masks, the sums in registers: the twin of what count_pairs_masked.hpp adds
side by side.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from tallydraw._numba.bits import popcount
from tallydraw._numba.lanes import _splat, load, store
from tallydraw._numba.parallel import inline

_features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
# Whether vectors have masks, or at least four lanes: to make masks of bits then costs no more than what they save.
MASKS = "wide" if "+avx512vl" in _features else "narrow" if "+avx2" in _features else "none"
_0, _1, _6 = np.uint64(0), np.uint64(1), np.uint64(6)


@intrinsic
def _add_where(typingctx, sums, word, weight):
    """sums[l] + weight where bit l of a word is set."""

    def codegen(context, builder, signature, args):
        lanes, word, weight = args
        count = lanes.type.count
        word = word if count == 64 else builder.trunc(word, ir.IntType(count))
        chosen = builder.bitcast(word, ir.VectorType(ir.IntType(1), count))
        return builder.select(chosen, builder.fadd(lanes, _splat(builder, weight, count)), lanes)

    return sums(sums, types.uint64, types.float64), codegen


def _adder(width):
    """`width` lanes from `lane` on, of 64."""

    @inline
    def add(rows, row_at, also, also_at, words, masks, first, step, lane, weights, sums, to):
        """sums[to + 64 b + l] += weights[r] of the rows r whose bits are set in both, in their order, where bit l of
        masks[first + step * r + b] is, for two categories b.
        """
        second = to + np.uint64(64)
        a, b = load(width, sums, to), load(width, sums, second)
        for w in range(words):
            chosen = rows[row_at + w] & also[also_at + w]
            while chosen != _0:
                r = (w << _6) + np.uint64(popcount(~chosen & (chosen - _1)))
                at = first + step * r
                weight = weights[r]
                a = _add_where(a, masks[at] >> lane, weight)
                b = _add_where(b, masks[at + _1] >> lane, weight)
                chosen &= chosen - _1
        store(sums, to, a)
        store(sums, second, b)

    return add


_add_8, _add_16, _add_32, _add_64 = _adder(8), _adder(16), _adder(32), _adder(64)


@inline
def add_masked_lanes(begin, end, rows, row_at, also, also_at, words, masks, first, step, weights, sums, to):
    """Lanes from `begin` on, at least to `end`, of the two categories whose sums begin at `to`."""
    n = end - begin
    if n <= 8:
        lane = np.uint64(min(begin, 56))
        _add_8(rows, row_at, also, also_at, words, masks, first, step, lane, weights, sums, to + lane)
    elif n <= 16:
        lane = np.uint64(min(begin, 48))
        _add_16(rows, row_at, also, also_at, words, masks, first, step, lane, weights, sums, to + lane)
    elif n <= 32:
        lane = np.uint64(min(begin, 32))
        _add_32(rows, row_at, also, also_at, words, masks, first, step, lane, weights, sums, to + lane)
    else:
        _add_64(rows, row_at, also, also_at, words, masks, first, step, _0, weights, sums, to)
