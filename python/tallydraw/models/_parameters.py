"""Parameters of models: comparing and checking them."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from tallydraw import _distributions
from tallydraw.tables import Tables


def explain_parameters(cls: type) -> None:
    """Make a class say which parameters it has, in its own name, where it is given others."""
    init = cls.__init__  # type: ignore[misc]
    parameters = list(inspect.signature(init).parameters.values())[1:]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return  # it takes what others will check
    names = {p.name: None for p in parameters}
    n_positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)

    @functools.wraps(init)
    def explained(self: Any, *args: Any, **params: Any) -> None:
        if not names.keys() >= params.keys():
            unknown = next(name for name in params if name not in names)
            raise TypeError(f"{cls.__name__} has no parameter {unknown!r}: its parameters are {', '.join(names)}")
        if len(args) > n_positional:
            raise TypeError(
                f"{cls.__name__} takes its parameters by name, got {args[n_positional]!r}: write one of "
                + ", ".join(f"{name}=" for name in list(names)[n_positional:])
            )
        init(self, *args, **params)

    cls.__init__ = explained  # type: ignore[misc]


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
