"""One binomial count: the twin of binomial.hpp, which says how. The same bits, operation by operation."""

from __future__ import annotations

import math

import numpy as np

from tallydraw._numba.elementary import exp_of, log_of
from tallydraw._numba.parallel import inline, unrolled
from tallydraw._numba.philox import COUNTS, counter_tag, philox_block

_LOW, _32, _20, _12, _ATTEMPT = (np.uint64(i) for i in (0xFFFFFFFF, 32, 20, 12, 256))
TAG = counter_tag(COUNTS, 0)
_DELTA = (0.0,) + tuple(
    float.fromhex(h)
    for h in (
        "0x1.4c071bcda0a5bp-4",
        "0x1.52a9b923ea649p-5",
        "0x1.c579a268d80b3p-6",
        "0x1.54a2662fd78a9p-6",
        "0x1.10b4e513fcbedp-6",
        "0x1.c6b167bebdf36p-7",
        "0x1.85d4d612e4a86p-7",
        "0x1.552805e7b3076p-7",
        "0x1.2f4871b12ab64p-7",
        "0x1.10f9d4c0743a7p-7",
    )
)
_SLACK = 2.0**-40
_FEW, _MOST = 10.0, 110
_ONE_OVER = np.array([np.nan] + [1.0 / x for x in range(1, _MOST + 1)])


@unrolled
def unit(high, low):
    """One of 2**52 uniforms, the midpoints of equal steps: never 0, never 1."""
    return (np.float64(np.int64(high << _20 | low >> _12)) + 0.5) * 2.0**-52


@inline
def _log_complement(p):
    """log(1 - p), 0 < p <= 1/2."""
    y = 1.0 - p
    return -p if y == 1.0 else log_of(y) * (p / (1.0 - y))


@unrolled
def _delta_series(z):
    y = 1.0 / z
    y2 = y * y
    return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 * y2) * y2) * y2) * y2) * y


@inline
def _delta(z):
    """What Stirling's formula lacks for log (z - 1)!."""
    return _DELTA[int(z)] if z <= 10.0 else _delta_series(z)


@unrolled
def _has_series(z, mean, d):
    v = d / (z + mean)
    return v * v < 0.01


@unrolled
def _deviance_series(z, mean, d):
    v = d / (z + mean)
    v2 = v * v
    s = 1.0 / 17
    s = 1.0 / 15 + v2 * s
    s = 1.0 / 13 + v2 * s
    s = 1.0 / 11 + v2 * s
    s = 1.0 / 9 + v2 * s
    s = 1.0 / 7 + v2 * s
    s = 1.0 / 5 + v2 * s
    s = 1.0 / 3 + v2 * s
    return d * v + 2.0 * z * v * (v2 * s)


@inline
def _deviance(z, mean, d):
    """D(z, M) = z log(z / M) + M - z, given d = z - M."""
    return _deviance_series(z, mean, d) if _has_series(z, mean, d) else z * log_of(z / mean) - d


@inline
def _under_curve(x, k, m, n, p, q):
    """Whether x <= f(k) / f(m)."""
    mean = (n + 2.0) * p
    rest = (n + 2.0) * q
    y = m + 1.0
    y_rest = n - m + 1.0
    z = k + 1.0
    z_rest = n - k + 1.0
    at_m = _deviance(y, mean, y - mean) + _deviance(y_rest, rest, mean - y) + (_delta(y) + _delta(y_rest))
    at_k = _deviance(z, mean, z - mean) + _deviance(z_rest, rest, mean - z) + (_delta(z) + _delta(z_rest))
    return x * x * ((y / z) * (y_rest / z_rest)) <= exp_of(2.0 * (at_m - at_k))


@unrolled
def _under_series(x, k, m, n, p, q):
    """The same, true only where all the series hold."""
    mean = (n + 2.0) * p
    rest = (n + 2.0) * q
    y = m + 1.0
    y_rest = n - m + 1.0
    z = k + 1.0
    z_rest = n - k + 1.0
    at_m = _deviance_series(y, mean, y - mean) + _deviance_series(y_rest, rest, mean - y)
    at_m = at_m + (_delta_series(y) + _delta_series(y_rest))
    at_k = _deviance_series(z, mean, z - mean) + _deviance_series(z_rest, rest, mean - z)
    at_k = at_k + (_delta_series(z) + _delta_series(z_rest))
    near = _has_series(z, mean, z - mean) & _has_series(z_rest, rest, mean - z) & (z > 10.0) & (z_rest > 10.0)
    return near & (x * x * ((y / z) * (y_rest / z_rest)) <= exp_of(2.0 * (at_m - at_k)))


@inline
def uniforms(key, row, outcome, attempt):
    """The two uniforms of an attempt; all uint64."""
    w0, w1, w2, w3 = philox_block(row & _LOW, row >> _32, outcome, TAG + _ATTEMPT * attempt, key)
    return unit(w0, w1), unit(w2, w3)


@unrolled
def _scales(mean, p, q):
    """The standard deviation, b, a."""
    deviation = math.sqrt(mean * q)
    b = 1.15 + 2.53 * deviation
    return deviation, b, -0.0873 + 0.0248 * b + 0.01 * p


@unrolled
def _aim(u, mean, a, b):
    """How far u is from its ends, and where the attempt falls."""
    w = u - 0.5
    us = 0.5 - (-w if w < 0.0 else w)
    return us, (2.0 * a / us + b) * w + (mean + 0.5)


@unrolled
def _is_sure(us, v, b):
    return (us >= 0.07) & (v * b <= 0.92 * b - 4.2)


@unrolled
def _height(us, v, deviation, a, b):
    return v * ((2.83 + 5.1 / b) * deviation) / (a / (us * us) + b)


@unrolled
def first_attempt(n, p, q, u, v):
    """What binomial gives if its first attempt is sure, and whether it is; all float64."""
    mean = n * p
    _, b, a = _scales(mean, p, q)
    us, place = _aim(u, mean, a, b)
    return place, (mean >= _FEW) & (place >= 0.0) & (place < n + 1.0) & _is_sure(us, v, b)


@unrolled
def compared_attempt(n, p, q, u, v):
    """The same if a comparison by series accepts it."""
    mean = n * p
    deviation, b, a = _scales(mean, p, q)
    us, place = _aim(u, mean, a, b)
    inside = (mean >= _FEW) & (place >= 0.0) & (place < n + 1.0)
    k, m = np.float64(np.int64(place)), np.float64(np.int64((n + 1.0) * p))
    return place, inside & _under_series(_height(us, v, deviation, a, b), k, m, n, p, q)


@inline
def binomial(n_trials, p, q, u, v, key, row, outcome):
    """A count of n trials of probability p <= 1/2, n >= 1; u and v are the uniforms of the first attempt, key, row and
    outcome are uint64.
    """
    n = np.float64(n_trials)
    mean = n * p
    attempt = np.uint64(0)
    if mean < _FEW:
        if u < 1.0 - mean - _SLACK:
            return np.int64(0)
        none = exp_of(n * _log_complement(p))
        odds = p / q
        scale = (n + 1.0) * odds
        while True:
            probability = none
            x = 0
            while u > probability and x < _MOST and x < n:
                x += 1
                u -= probability
                probability *= scale * _ONE_OVER[x] - odds
            if not u > probability:
                return np.int64(x)
            attempt += np.uint64(1)
            u, v = uniforms(key, row, outcome, attempt)
    deviation, b, a = _scales(mean, p, q)
    while True:
        us, place = _aim(u, mean, a, b)
        if place >= 0.0 and place < n + 1.0:
            k = np.int64(place)
            if _is_sure(us, v, b):
                return k
            m = np.float64(np.int64((n + 1.0) * p))
            if _under_curve(_height(us, v, deviation, a, b), np.float64(k), m, n, p, q):
                return k
        attempt += np.uint64(1)
        u, v = uniforms(key, row, outcome, attempt)
