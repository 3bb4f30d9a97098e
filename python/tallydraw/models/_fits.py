"""Which fits may be added to each other, or taken from each other."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw.models._names import check_names
from tallydraw.models._state import Fitted


def require_same_categories(mine: Fitted, theirs: Fitted, sign: str) -> None:
    if not np.array_equal(mine.sizes, theirs.sizes):
        raise ValueError(
            f"{sign}: n_categories differ, {mine.sizes.tolist()} and {theirs.sizes.tolist()}: "
            "make both models with the same n_categories="
        )


def require_same_labels(mine: Fitted, theirs: Fitted, sign: str) -> None:
    """Raise where the classes, or the names of features, differ."""
    if (mine.classes is None) != (theirs.classes is None):
        raise ValueError(f"{sign}: one model has a class, the other none")
    if mine.classes is not None and not np.array_equal(mine.classes, cast(NDArray[Any], theirs.classes)):
        raise ValueError(
            f"{sign}: classes differ, {mine.classes.tolist()} and {cast(NDArray[Any], theirs.classes).tolist()}"
        )
    if (mine.names is None) != (theirs.names is None):
        raise ValueError(f"{sign}: one model has names of features, the other none")
    check_names(mine.names, theirs.names)
