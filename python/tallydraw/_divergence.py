"""Terms of divergences: accurate where distributions almost agree, and with the same bits everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend

Floats = NDArray[np.float64]

# (1 + t) log(1 + t) - t = t^2 (1/2 - t/6 + t^2/12 - ...): the coefficient of t^n is (-1)^n / ((n + 1) (n + 2)).
_SERIES = [(-1.0) ** n / ((n + 1) * (n + 2)) for n in range(14)]
_SMALL = 1 / 16


def log_probability(p: Floats) -> Floats:
    """Logs of probabilities: 0 for one that passes one by rounding."""
    out = np.empty(p.shape)
    backend.kernels().log(np.ascontiguousarray(p).reshape(-1), out.reshape(-1))
    return np.minimum(out, 0.0, out=out)


def divergence_terms(p: Floats, q: Floats, log_q: Floats) -> Floats:
    """The terms p log(p / q) - p + q = q ((1 + t) log(1 + t) - t), t = p / q - 1: by a series where t is small."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        t = (p - q) / q
    near = np.abs(t) < _SMALL  # False where q = 0
    t = np.where(near, t, 0.0)
    series = np.full(t.shape, _SERIES[-1])
    for c in _SERIES[-2::-1]:
        series *= t
        series += c
    # An impossible category of both is near nothing, and adds nothing.
    logs = np.where(p > 0, log_probability(p), 0.0) - np.where(p > 0, log_q, 0.0)
    far = p * np.where(near, 0.0, logs) - p + q
    return np.where(near, q * (t * t * series), far)
