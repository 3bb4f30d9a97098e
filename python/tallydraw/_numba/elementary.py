"""Our own log and exp, operation by operation: the twin of elementary.hpp, which says how they are made."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel, unrolled

_TWO52_BITS, _TWO52 = np.uint64(0x4330000000000000), 2.0**52
_LOG2_HIGH, _LOG2_LOW = float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c610ca86c39p-29")
_LOG2_E, _LOG_2 = float.fromhex("0x1.71547652b82fep+0"), float.fromhex("0x1.62e42fefa39efp-1")
_INF, _NAN = np.inf, np.nan
_SMALL = 1 / 16

# R / s^2 and Q of elementary.hpp, constant term first.
_R0, _R1, _R2, _R3, _R4, _R5, _R6, _R7 = (
    float.fromhex(h)
    for h in (
        "0x1.5555555555555p-1",
        "0x1.9999999999a38p-2",
        "0x1.2492492476b9cp-2",
        "0x1.c71c720177545p-3",
        "0x1.745cf8f913e58p-3",
        "0x1.3b1c3796d992ap-3",
        "0x1.0fbe5e91f30d8p-3",
        "0x1.0c05b50f790bfp-3",
    )
)
_Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8, _Q9, _Q10 = (
    float.fromhex(h)
    for h in (
        "0x1.5555555555557p-3",
        "0x1.555555555554ep-5",
        "0x1.11111111100eep-7",
        "0x1.6c16c16c1a074p-10",
        "0x1.a01a01abdf052p-13",
        "0x1.a01a0190621d2p-16",
        "0x1.71de024b3455ap-19",
        "0x1.27e510dabd6b3p-22",
        "0x1.af4db8c3be709p-26",
        "0x1.1f19f3ef24508p-29",
    )
)
_TINY = np.uint64(0x0010000000000000)
_CARRY = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_MANTISSA, _ROOT = np.uint64(0x000FFFFFFFFFFFFF), np.uint64(0x3FE6A09E667F3BCD)
_HIGH_BITS = np.uint64(0xFFFFFFFFF8000000)
_52, _1 = np.uint64(52), np.uint64(1)
_BIAS, _TINY_BIAS = _TWO52 + 1023.0, _TWO52 + (1023.0 + 1074.0)
_SHIFT, _SHIFT_K = 1.5 * 2.0**52, 1.5 * 2.0**84
_EXPONENT = np.uint64(np.float64(_SHIFT).view(np.uint64) - np.uint64(2046))


@intrinsic
def bits_of(typingctx, x):
    """The bits of a float64 as uint64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), codegen


@intrinsic
def double_of(typingctx, u):
    """The float64 with the bits of a uint64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.uint64), codegen


@inline
def split(x):
    """(k, f): x = 2**k (1 + f) for x > 0, finite; any other x gives something harmless."""
    u = bits_of(x)
    tiny = u < _TINY
    v = bits_of(double_of(u | _TWO52_BITS) - _TWO52) if tiny else u
    bias = _TINY_BIAS if tiny else _BIAS
    t = v + _CARRY
    return double_of((t >> _52) | _TWO52_BITS) - bias, double_of((t & _MANTISSA) + _ROOT) - 1.0


@inline
def fast_sum(a, b):
    """a + b unrounded, (high, low): exact where |a| >= |b| or a = 0."""
    high = a + b
    return high, (a - high) + b


@inline
def log_finish(high, low, k, f):
    """(high + low + k log2_low) + (log(1 + f) - f), high + low being k log2_high + f."""
    s = f / (2.0 + f)
    z = s * s
    r = _R6 + z * _R7
    r = _R5 + z * r
    r = _R4 + z * r
    r = _R3 + z * r
    r = _R2 + z * r
    r = _R1 + z * r
    r = _R0 + z * r
    f_high = double_of(bits_of(f) & _HIGH_BITS)
    half_high = 0.5 * (f_high * f_high)
    half_low = 0.5 * ((f - f_high) * (f + f_high))
    tail = s * ((half_high + half_low) + z * r) - half_low
    total, rest = fast_sum(high, -half_high)
    return total + (((rest + low) + k * _LOG2_LOW) + tail)


@inline
def log_special(x, y):
    """y for 0 < x < inf; inf for inf, -inf for 0, NaN for the rest."""
    low = -_INF if x == 0.0 else _NAN
    high = y if x < _INF else _INF
    return high if x > 0.0 else low


@inline
def log_of(x):
    """Natural logarithm; log 0 = -inf, log of a negative number or NaN = NaN."""
    k, f = split(x)
    high, low = fast_sum(k * _LOG2_HIGH, f)
    return log_special(x, log_finish(high, low, k, f))


@inline
def log_scaled_of(m, e):
    """log(m * 2**e), also where the product is not representable; its bits where it is. |e| < 2**53, m >= 0."""
    k, f = split(m)
    k = k + np.float64(e)
    k1 = (k + _SHIFT_K) - _SHIFT_K
    k0 = k - k1
    scale, scale_low = fast_sum(k1 * _LOG2_HIGH, k0 * _LOG2_HIGH)
    high, low = fast_sum(scale, f)
    return log_special(m, log_finish(high, low + scale_low, k, f))


@inline
def exp_of(x):
    """Exponential; 0 below about -745.13, inf above about 709.78, NaN for NaN."""
    y = 710.0 if x > 710.0 else (-746.0 if x < -746.0 else x)
    shifted = y * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    a = y - n * _LOG2_HIGH
    b = n * _LOG2_LOW
    r = a - b
    r_rest = (a - r) - b
    q = _Q9 + r * _Q10
    q = _Q8 + r * q
    q = _Q7 + r * q
    q = _Q6 + r * q
    q = _Q5 + r * q
    q = _Q4 + r * q
    q = _Q3 + r * q
    q = _Q2 + r * q
    q = _Q1 + r * q
    q = 0.5 + r * q
    total, rest = fast_sum(1.0, r)
    m = total + (rest + (r_rest + (r * r) * q))
    e = bits_of(shifted) - _EXPONENT
    half = e >> _1
    value = (m * double_of(half << _52)) * double_of((e - half) << _52)
    return value if x == x else _NAN


@unrolled
def is_near_one(t):
    """Whether 1 + t is so near one that near_divergence(t) is exact enough."""
    return np.abs(t) < _SMALL


@unrolled
def near_divergence(t):
    """(1 + t) log(1 + t) - t by a series, |t| < 1/16."""
    series = -1.0 / 210
    series = 1.0 / 182 + t * series
    series = -1.0 / 156 + t * series
    series = 1.0 / 132 + t * series
    series = -1.0 / 110 + t * series
    series = 1.0 / 90 + t * series
    series = -1.0 / 72 + t * series
    series = 1.0 / 56 + t * series
    series = -1.0 / 42 + t * series
    series = 1.0 / 30 + t * series
    series = -1.0 / 20 + t * series
    series = 1.0 / 12 + t * series
    series = -1.0 / 6 + t * series
    series = 1.0 / 2 + t * series
    return t * t * series


@unrolled
def log_probability_of(p):
    """Logarithm, 0 of what passes one by rounding."""
    y = log_of(p)
    return y if y < 0.0 else 0.0


@unrolled
def divergence_term(p, q, log_q):
    """The term p log(p / q) - p + q = q ((1 + t) log(1 + t) - t), t = p / q - 1: by a series where t is small."""
    t = (p - q) / q
    near = is_near_one(t)  # not where q = 0
    series = near_divergence(t if near else 0.0)
    log_p = log_probability_of(p)
    logs = log_p - log_q if p > 0.0 else 0.0
    far = p * logs - p + q
    return q * series if near else far


@kernel
def _log(x, out):
    for i in range(x.shape[0]):
        out[i] = log_of(x[i])


@kernel
def _exp(x, out):
    for i in range(x.shape[0]):
        out[i] = exp_of(x[i])


@kernel
def _divergence_terms(p, q, log_q, out):
    for i in range(p.shape[0]):
        out[i] = divergence_term(p[i], q[i], log_q[i])


@kernel
def _log_scaled(x, exponent, out):
    for i in range(x.shape[0]):
        out[i] = log_scaled_of(x[i], exponent[i])


def log(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    _log(x, out)


def exp(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    _exp(x, out)


def divergence_terms(
    p: NDArray[np.float64], q: NDArray[np.float64], log_q: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    _divergence_terms(p, q, log_q, out)


def log_scaled(x: NDArray[np.float64], exponent: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    _log_scaled(x, exponent, out)
