"""One binomial count: the twin of binomial.hpp, which says how. The same bits, operation by operation."""

from __future__ import annotations

import math

import numpy as np

from tallydraw._numba.elementary import exp_of, log_of
from tallydraw._numba.parallel import inline
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
_MOST = 110
_ONE_OVER = np.array([np.nan] + [1.0 / x for x in range(1, _MOST + 1)])


@inline
def unit(high, low):
    """One of 2**52 uniforms, the midpoints of equal steps: never 0, never 1."""
    return (np.float64(np.int64(high << _20 | low >> _12)) + 0.5) * 2.0**-52


@inline
def log_complement(p):
    """log(1 - p), 0 < p <= 1/2."""
    y = 1.0 - p
    return -p if y == 1.0 else log_of(y) * (p / (1.0 - y))


@inline
def delta(z):
    """What Stirling's formula lacks for log (z - 1)!."""
    if z <= 10.0:
        return _DELTA[int(z)]
    y = 1.0 / z
    y2 = y * y
    return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 * y2) * y2) * y2) * y2) * y


@inline
def deviance(z, mean, d):
    """D(z, M) = z log(z / M) + M - z, given d = z - M."""
    v = d / (z + mean)
    v2 = v * v
    if v2 >= 0.01:
        return z * log_of(z / mean) - d
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
def under_curve(x, k, m, n, p, q):
    """Whether x <= f(k) / f(m)."""
    mean = (n + 2.0) * p
    rest = (n + 2.0) * q
    y = m + 1.0
    y_rest = n - m + 1.0
    z = k + 1.0
    z_rest = n - k + 1.0
    at_m = deviance(y, mean, y - mean) + deviance(y_rest, rest, mean - y) + (delta(y) + delta(y_rest))
    at_k = deviance(z, mean, z - mean) + deviance(z_rest, rest, mean - z) + (delta(z) + delta(z_rest))
    return x * x * ((y / z) * (y_rest / z_rest)) <= exp_of(2.0 * (at_m - at_k))


@inline
def uniforms(key, row, outcome, attempt):
    """The two uniforms of an attempt; all uint64."""
    w0, w1, w2, w3 = philox_block(row & _LOW, row >> _32, outcome, TAG + _ATTEMPT * attempt, key)
    return unit(w0, w1), unit(w2, w3)


@inline
def binomial(n_trials, p, q, u, v, key, row, outcome):
    """A count of n trials of probability p <= 1/2, n >= 1; u and v are the uniforms of the first attempt, key, row and
    outcome are uint64.
    """
    n = np.float64(n_trials)
    mean = n * p
    attempt = np.uint64(0)
    if mean < 10.0:
        if u < 1.0 - mean - _SLACK:
            return np.int64(0)
        none = exp_of(n * log_complement(p))
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
    deviation = math.sqrt(mean * q)
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = mean + 0.5
    sure = 0.92 * b - 4.2
    while True:
        w = u - 0.5
        us = 0.5 - (-w if w < 0.0 else w)
        place = (2.0 * a / us + b) * w + c
        if place >= 0.0 and place < n + 1.0:
            k = np.int64(place)
            if us >= 0.07 and v * b <= sure:
                return k
            m = np.float64(np.int64((n + 1.0) * p))
            alpha = (2.83 + 5.1 / b) * deviation
            if under_curve(v * alpha / (a / (us * us) + b), np.float64(k), m, n, p, q):
                return k
        attempt += np.uint64(1)
        u, v = uniforms(key, row, outcome, attempt)
