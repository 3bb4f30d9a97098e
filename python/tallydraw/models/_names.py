"""Names of features: those of a data frame whose columns are all strings, as scikit-learn reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def feature_names(X: Any) -> NDArray[np.object_] | None:
    """(d,) column names of a data frame, or None for anything else and for names that are not strings."""
    columns = getattr(X, "columns", None)
    if columns is None or isinstance(X, np.ndarray) or callable(columns):
        return None
    names = list(columns)
    strings = [isinstance(name, str) for name in names]
    if not names or not any(strings):
        return None
    if not all(strings):
        raise TypeError("the columns of X are named by strings and by other things: name all of them by strings")
    array = np.empty(len(names), object)
    array[:] = names
    return array


def check_names(known: NDArray[np.object_] | None, given: NDArray[np.object_] | None, data: str = "X") -> None:
    """Raise where both are there and differ; unnamed data is taken as it is."""
    if known is None or given is None or list(known) == list(given):
        return
    if len(known) != len(given):
        raise ValueError(f"{data} has {len(given)} columns, but the model was fitted with {len(known)}")
    j = next(i for i, (a, b) in enumerate(zip(known, given, strict=True)) if a != b)
    raise ValueError(
        f"column {j} of {data} is named {given[j]!r}, but the model was fitted with {known[j]!r} there: "
        "names and their order must be those of the fit"
    )
