"""Parameters of models: comparing and checking them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tallydraw import _distributions
from tallydraw.tables import Tables


def own_parameter(value: Any) -> Any:
    """The same value, but nobody else's to change: a read-only copy of an array, a tuple instead of a list."""
    if isinstance(value, (list, tuple)) or hasattr(value, "__next__"):
        return tuple(own_parameter(v) for v in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(value)
    if hasattr(value, "__array__") and not isinstance(value, np.generic):  # an array, a column of a data frame
        value = np.array(np.asarray(value))
        value.flags.writeable = False
    return value


def same_parameter(a: Any, b: Any) -> bool:
    """Equality of numbers, arrays and nested lists of them."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_parameter(u, v) for u, v in zip(a, b, strict=True))
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b))


def stated_prior(class_prior: Any) -> Tables:
    """A class prior that was given, as a table."""
    prior = _distributions.distributions("class_prior", class_prior, (-1,))
    if prior.ndim != 1:
        raise ValueError(f"class_prior must have shape (K,), got {prior.shape}")
    return Tables.from_arrays([prior])
