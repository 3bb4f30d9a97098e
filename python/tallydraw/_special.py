"""Ratios of gamma functions: + − × ÷ and our own log only, so that the bits are the same everywhere.

Counts enter a marginal likelihood through log Γ(a + n) − log Γ(a) alone. Both gamma functions may be huge and nearly
equal, so their difference is computed as one: x = a + 10 by the recurrence Γ(a + 1) = a Γ(a), then the difference of
two Stirling series at x and x + n (Abramowitz and Stegun, 1964, 6.1.40 and 6.3.18), whose leading terms combine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend

Floats = NDArray[np.float64]

_SHIFT = 10  # the first term that the series leave out is then below 1e-16

# B_2k / (2k (2k - 1)) and -B_2k / (2k) of the Bernoulli numbers, from k = 1 on.
_LOG_GAMMA = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]
_DIGAMMA = [-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12]


def log_rising(a: Any, n: Any) -> Floats:
    """Log of Γ(a + n) / Γ(a) = a (a + 1) … (a + n − 1), for a > 0 and real n >= 0, elementwise.

    The error is below 1e-14 of the largest of the result, n and 1.
    """
    a, n = _pair(a, n)
    x = a + _SHIFT
    y = x + n
    series = _series(_LOG_GAMMA, y) / y - _series(_LOG_GAMMA, x) / x
    total: Floats = (x - 0.5) * _log_ratio(n, x) + n * (_log(y) - 1.0) + series
    for i in range(_SHIFT):
        total -= _log_ratio(n, a + i)
    return total


def digamma_difference(a: Any, n: Any) -> Floats:
    """ψ(a + n) − ψ(a) = 1 / a + … + 1 / (a + n − 1), for a > 0 and real n >= 0, elementwise.

    The error is below 1e-14 of the result, or below 1e-18.
    """
    a, n = _pair(a, n)
    x = a + _SHIFT
    y = x + n
    series = _series(_DIGAMMA, y) / y / y - _series(_DIGAMMA, x) / x / x
    total: Floats = _log_ratio(n, x) + 0.5 * n / x / y + series
    for i in range(_SHIFT - 1, -1, -1):
        total += n / (a + i + n) / (a + i)
    return total


def _pair(a: Any, n: Any) -> tuple[Floats, Floats]:
    return np.asarray(a, dtype=np.float64), np.asarray(n, dtype=np.float64)


def _series(coefficients: list[float], x: Floats) -> Floats:
    """Sum of coefficients[k] / x**(2 k), by Horner's rule."""
    u = 1.0 / x / x
    total = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = c + u * total
    return total


def _log_ratio(n: Floats, a: Floats) -> Floats:
    """log((a + n) / a); what rounding 1 + n / a takes away is put back (Goldberg, 1991, theorem 4)."""
    with np.errstate(over="ignore"):
        t = n / a
    u = 1.0 + t
    rest = u - 1.0
    near = rest == 0.0
    far = np.isinf(u)
    logs: Floats = np.where(near, t, _log(u) * np.where(far, 1.0, t) / np.where(near | far, 1.0, rest))
    return np.where(far, _log(n) - _log(a), logs) if far.any() else logs


def _log(x: Floats) -> Floats:
    array = np.ascontiguousarray(x)
    out = np.empty(array.size, np.float64)
    backend.kernels().log(array.reshape(-1), out)
    return out.reshape(np.shape(x))
