"""Terms of divergences, of arrays of any shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend

Floats = NDArray[np.float64]


def log_probability(p: Floats) -> Floats:
    """Logs of probabilities: 0 for one that passes one by rounding."""
    out = np.empty(p.shape)
    backend.kernels().log(np.ascontiguousarray(p).reshape(-1), out.reshape(-1))
    return np.minimum(out, 0.0, out=out)


def divergence_terms(p: Floats, q: Floats, log_q: Floats) -> Floats:
    """The terms p log(p / q) - p + q, accurate also where p and q almost agree."""
    out = np.empty(p.shape)
    flat = (np.ascontiguousarray(a).reshape(-1) for a in (p, q, log_q))
    backend.kernels().divergence_terms(*flat, out.reshape(-1))
    return out
