"""Class labels of any dtype and the codes 0 … K - 1 that kernels count with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._check.arrays import is_missing, unmasked

_NUMERIC = "biuf"


def label_array(y: Any, n: int | None = None, name: str = "y") -> NDArray[Any]:
    """(n,) labels of any dtype without a missing one; `n` is the number of rows they must belong to."""
    array = unmasked(name, y)
    if array.ndim != 1:
        raise ValueError(f"{name} must hold one label a row, got shape {array.shape}")
    if not isinstance(y, np.ndarray) and array.dtype.kind in "USf":
        array = _unmixed(y, array, name)
    if n is not None and len(array) != n:
        raise ValueError(f"{name} must have one label a row ({n}), got {len(array)}")
    if array.dtype.kind not in _NUMERIC + "USTOmM":
        raise TypeError(f"{name} must hold labels, got dtype {array.dtype}")
    if array.dtype.kind == "O":
        missing = np.fromiter((is_missing(v) for v in array), np.bool_, len(array))
    elif array.dtype.kind in "fmM":
        missing = np.isnan(array)
    else:
        return array
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise ValueError(f"{name}[{row}] is {array[row]}: a class may not be missing; leave the row out")
    return array


def _unmixed(y: Any, array: NDArray[Any], name: str) -> NDArray[Any]:
    """`array` as NumPy made it of a list, unless that changed a label: 1 is not "1", and NaN not "nan"."""
    for row, label in enumerate(y):
        if is_missing(label):
            raise ValueError(f"{name}[{row}] is {label}: a class may not be missing; leave the row out")
        if label != array[row].item():
            raise TypeError(
                f"{name}[{row}] is {label!r}, but would become {array[row].item()!r} beside the other labels"
            )
    return array


def find_classes(labels: NDArray[Any], name: str = "y") -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct labels, sorted, and the code of each row's label."""
    if len(labels) == 0:
        raise ValueError(f"{name} is empty: there are no classes to find; name them with partial_fit(..., classes=)")
    offset = _dense_offset(labels)
    if offset is not None:
        # Integers within a short range: counted, not sorted.
        codes = labels.astype(np.int64)  # nobody else's to change
        if offset:
            codes = codes - offset
        seen = np.bincount(codes) > 0
        classes = (np.flatnonzero(seen) + offset).astype(labels.dtype)
        return classes, codes if seen.all() else (np.cumsum(seen) - 1)[codes]
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"{name} holds labels that cannot be sorted: {error}") from error
    return classes, codes.reshape(-1).astype(np.int64)


def class_codes(labels: NDArray[Any], classes: NDArray[Any], name: str = "y") -> NDArray[np.int64]:
    """The code of each label among sorted `classes`; ValueError naming the first row whose label is none of them."""
    if (labels.dtype.kind in _NUMERIC) != (classes.dtype.kind in _NUMERIC) and "O" not in (
        labels.dtype.kind,
        classes.dtype.kind,
    ):
        places = np.zeros(len(labels), np.int64)
        known = np.zeros(len(labels), np.bool_)
    else:
        try:
            places = np.minimum(np.searchsorted(classes, labels), len(classes) - 1).astype(np.int64)
            known = np.asarray(classes[places] == labels, np.bool_)
        except TypeError:  # objects that do not compare with the classes
            table = {label: code for code, label in enumerate(classes.tolist())}
            places = np.fromiter((table.get(v, -1) for v in labels.tolist()), np.int64, len(labels))
            known = places >= 0
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        shown = ", ".join(map(repr, classes[:8].tolist())) + (", …" if len(classes) > 8 else "")
        raise ValueError(
            f"{name}[{row}] is {labels[row : row + 1].tolist()[0]!r}, which is none of the {len(classes)} classes: "
            f"{shown}"
        )
    return places


def classes_and_codes(y: Any, n: int, named: Any, known: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes, sorted and read-only, and the code of each of n labels.

    The classes are those `known` from an earlier fit, which those `named` by the caller must be; else those named;
    else those in `y`.
    """
    labels = label_array(y, n)
    if named is not None:
        found, _ = find_classes(label_array(named, name="classes"), "classes")
        if known is not None and not np.array_equal(found, known):
            raise ValueError(f"classes are {known.tolist()} since the first call, got {found.tolist()}")
        known = found if known is None else known
    if known is None:
        known, codes = find_classes(labels)
    else:
        codes = class_codes(labels, known)
    known.flags.writeable = False
    return known, codes


def codes_of_rows(y: Any, n: int, classes: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) codes of one label for all rows, or of a label a row."""
    labels = label_array(np.reshape(np.asarray(y), (1,)) if np.ndim(y) == 0 else y)
    if np.ndim(y) != 0 and len(labels) != n:
        raise ValueError(f"y must be one label or one for each of the {n} rows, got {len(labels)}")
    codes = class_codes(labels, classes)
    return np.full(n, codes[0]) if np.ndim(y) == 0 else codes


def _dense_offset(labels: NDArray[Any]) -> int | None:
    """The least label where all are integers within a range not much longer than they are many."""
    if labels.dtype.kind not in "iu":
        return None
    least, most = int(labels.min()), int(labels.max())
    if most - least > 1024 + len(labels) or most > 2**62 or least < -(2**62):
        return None
    return least
