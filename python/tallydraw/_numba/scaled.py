"""Sums of products whose every number carries its own exponent: the twin of scaled.hpp."""

from __future__ import annotations

import numpy as np

from tallydraw._numba.elementary import bits_of, double_of
from tallydraw._numba.parallel import inline

_MANTISSA, _ONE = np.uint64(0x000FFFFFFFFFFFFF), np.uint64(0x3FF0000000000000)
_NORMAL, _52 = np.uint64(0x0010000000000000), np.uint64(52)
_NONE = -(2**63)


@inline
def make_scaled(x, e):
    """x * 2**e as (m, e) with m in [1, 2), or (0, 0)."""
    if x == 0.0:
        return 0.0, np.int64(0)
    if bits_of(x) < _NORMAL:
        x = x * 18014398509481984.0
        e = e - 54
    u = bits_of(x)
    return double_of((u & _MANTISSA) | _ONE), e + np.int64(u >> _52) - 1023


@inline
def sum_of_products(p, begin, stride, m, e, place, n):
    """Sum over i < n, left to right, of p[begin + i * stride] * m[place + i] * 2**e[place + i]."""
    most = np.int64(_NONE)
    for i in range(n):
        pm, pe = make_scaled(p[begin + i * stride], np.int64(0))
        tm, te = make_scaled(pm * m[place + i], pe + e[place + i])
        if tm != 0.0 and te > most:
            most = te
    if most == _NONE:
        return 0.0, np.int64(0)
    total = 0.0
    for i in range(n):
        pm, pe = make_scaled(p[begin + i * stride], np.int64(0))
        tm, te = make_scaled(pm * m[place + i], pe + e[place + i])
        if tm != 0.0 and te - most >= -1022:
            total += tm * double_of(np.uint64(te - most + 1023) << _52)
    return make_scaled(total, most)
