"""Checks of arrays: codes, classes, weights and outputs. Nothing is copied where it need not be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw._check.scalars import natural

_MOST_WEIGHT = 2.0**1000  # times thousands of nats a row, still a float64


def codes(name: str, x: Any, *, ndim: int, classes: bool = False) -> NDArray[Any]:
    """Integer codes of `ndim` dimensions in native byte order, otherwise as they are (dtype, strides, read-only).

    `classes` may not be missing: errors then say so.
    """
    refuse_model(name, x, "not codes: pass rows, such as its sample(n) draws")
    array = unmasked(name, x)
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.dtype.kind not in "iu":
        if array.size == 0 and array.dtype == np.float64 and not isinstance(x, np.ndarray):
            array = array.astype(np.int64)  # [] and [[]] have no dtype of their own
        else:
            raise TypeError(f"{name} must hold integer codes, got {_remedied(name, x, array, classes)}")
    if array.ndim != ndim:
        more = f"; one row is [{name}], one feature {name}[:, None]" if (array.ndim, ndim) == (1, 2) else ""
        raise ValueError(f"{name} must have {ndim} dimension{'s' * (ndim > 1)}, got shape {array.shape}{more}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _remedied(name: str, x: Any, array: NDArray[Any], classes: bool) -> str:
    """What was got instead of integers, and how it becomes codes."""
    if array.ndim == 0:
        return f"{'None' if x is None else type(x).__name__}; pass an array, a data frame or a list of them"
    got = f"dtype {array.dtype}"
    if array.dtype.kind == "f":
        if classes:
            return f"{got}; where its numbers are whole, {name}.astype(np.int64); a class may not be missing"
        filled = f"{name}.fillna(-1)" if hasattr(x, "fillna") else f"np.where(np.isnan({name}), -1, {name})"
        return f"{got}; where its numbers are whole, {filled}.astype('int64'): -1 is missing"
    if array.dtype.kind == "O" and array.size:
        place, value = _first_odd(array)
        if np.ndim(value):
            return f"{got}, {name}{place} is a {type(value).__name__}; pass one array of integers"
        got += f", {name}{place} is {value!r}"
        if _is_whole(value):
            return f"{got}; pass {name}.astype('int64')"
        if isinstance(value, int):
            return f"{got}; codes must be below 2**63 - 1"
        if is_missing(value):
            if classes:
                return f"{got}; a class may not be missing: leave the row out"
            how = f"{name}.fillna(-1).astype('int64')" if hasattr(x, "fillna") else "put -1 there, .astype('int64')"
            return f"{got}; -1 is missing: where the others are whole numbers, {how}"
    if classes:
        coded = f"labels, {name} = np.unique({name}, return_inverse=True)"
        return f"{got}; models take labels as they are; for counts, {coded}"
    return (
        f"{got}; give the values of a column their codes once, before the data is split: "
        "column.astype('category').cat.codes in pandas, where -1 is missing as it is here, or "
        "values, codes = np.unique(column, return_inverse=True)"
    )


def _first_odd(array: NDArray[Any]) -> tuple[list[int], Any]:
    """Place and value of the first object that is no code, else of the first."""
    for place, value in np.ndenumerate(array):
        if not _is_whole(value):
            return list(place), value
    return [0] * array.ndim, array.flat[0]


def _is_whole(value: Any) -> bool:
    """Whether an object is an integer that a code can be."""
    return isinstance(value, (int, np.integer)) and -(2**63) <= int(value) < 2**63 - 1


def is_missing(value: Any) -> bool:
    """None, NaN, NaT, or pandas' NA, which is not even unequal to itself."""
    if value is None:
        return True
    unequal = value != value
    return bool(unequal) if isinstance(unequal, (bool, np.bool_)) else True


def refuse_model(
    name: str,
    x: Any,
    instead: str = "not its tables: pass its probabilities_ or its counts_, or call its own log_prob or sample",
    stack: str | None = "where an array belongs: pass that stack alone, or one array a feature",
) -> None:
    """Raise for a model, or a list of models, with what to do `instead`; for tables of pairs; and, unless `stack` is
    None, for a list of stacks of tables.
    """
    if type(x) is np.ndarray:
        return
    place = name
    if isinstance(x, (list, tuple)) and x:
        place, x = f"{name}[0]", x[0]
    kind = type(x)
    if hasattr(kind, "probabilities_"):
        raise TypeError(f"{place} is a {kind.__name__}, {instead}")
    if hasattr(kind, "_tree_tables"):
        raise TypeError(
            f"{place} is a {kind.__name__}, the tables of all pairs: pass {place}.marginals, those of the features, "
            f"{place}.tables(parents), those of a tree, or {place}[i, j], that of a pair"
        )
    if stack is not None and place != name and hasattr(kind, "of_class"):
        raise TypeError(f"{place} is a {kind.__name__}, {stack}")


def unmasked(name: str, x: Any) -> NDArray[Any]:
    """`x` as an array; refused are masked arrays, whose mask would be forgotten, and what is no array as it is."""
    refuse_model(name, x)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose mask would be forgotten: pass {name}.filled(…), codes with -1, which is "
            "missing"
        )
    if hasattr(x, "toarray"):
        raise TypeError(
            f"{name} is a sparse {type(x).__name__}, whose zeros are entries like the others: pass {name}.toarray()"
        )
    if hasattr(x, "__next__"):
        raise TypeError(f"{name} is a {type(x).__name__}, which can be read only once: pass list({name})")
    try:
        return np.asarray(x)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        if hasattr(type(x), "of_class"):
            raise ValueError(f"{name} is a stack of tables of different shapes: pass one of them, {name}[j]") from None
        raise ValueError(
            f"{name} has rows of different lengths: sequences of any length are for count_transitions, log_prob_paths "
            "and MarkovChain(homogeneous=True)"
        ) from None


def code_error(name: str, x: NDArray[Any], bad: int, n_categories: NDArray[np.int64]) -> ValueError:
    """The error for cell `bad` (row-major) of `x`, (n,) or (n, d), that a kernel found to be no category."""
    d = 1 if x.ndim == 1 else x.shape[1]
    row, column = divmod(bad, d)
    value = x[row] if x.ndim == 1 else x[row, column]
    place, whose = (f"[{row}]", "") if x.ndim == 1 else (f"[{row}, {column}]", f"feature {column} has ")
    c = int(n_categories[column])
    return ValueError(
        f"{name}{place} is {value}, but {whose or 'there are '}{c} categories (codes 0 to {c - 1}): "
        "pass a larger n_categories (a model keeps those of its first fit), name it with missing=, or set "
        f"unseen='missing'{wrapped(value, x.dtype)}"
    )


def wrapped(value: int, dtype: np.dtype[Any]) -> str:
    """In words that a code may have been meant as -1, which unsigned dtypes, such as those of draws, cannot hold."""
    return f"; {value} is what -1 becomes in {dtype}" if dtype.kind == "u" and value == np.iinfo(dtype).max else ""


def class_codes(y: Any, n: int, n_classes: Any = None, name: str = "y") -> tuple[NDArray[np.int64], int]:
    """(n,) int64 classes and their number; a missing, negative or too large class is an error."""
    array = codes(name, y, ndim=1, classes=True)
    if len(array) != n:
        raise ValueError(f"{name} must have one class a row ({n}), got {len(array)}")
    # As unsigned numbers, where negative ones are above all others: one pass.
    most = int(array.view(f"u{array.dtype.itemsize}").max()) if n else -1
    if array.dtype.kind == "i" and most > np.iinfo(array.dtype).max:
        row = int(np.flatnonzero(array < 0)[0])
        raise ValueError(f"{name}[{row}] is {array[row]}: a class may not be missing or negative; leave the row out")
    if most >= 2**63 - 1:
        raise ValueError(f"{name}[{int(array.argmax())}] is {most}: classes must be below 2**63 - 1")
    if n_classes is None:
        if n == 0:
            raise ValueError(f"{name} is empty: pass n_classes=")
        k = most + 1
    else:
        k = natural("n_classes", n_classes, least=1)
        if most >= k:
            row = int(np.flatnonzero(array >= k)[0])
            raise ValueError(f"{name}[{row}] is {array[row]}, but there are {k} classes (0 to {k - 1})")
    return np.ascontiguousarray(array, dtype=np.int64), k


def sample_weight(w: Any, n: int) -> NDArray[np.float64]:
    """(n,) float64 weights, finite and non-negative, whose sum leaves room for that of their products with logs."""
    refuse_model("sample_weight", w, "not weights: pass one number a row", stack=None)
    array = unmasked("sample_weight", w)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight must be numeric, got dtype {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"sample_weight must have one weight a row ({n},), got shape {array.shape}")
    array = np.ascontiguousarray(array, dtype=np.float64)
    good = np.isfinite(array) & (array >= 0)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise ValueError(f"sample_weight[{row}] is {array[row]}: weights must be finite and non-negative")
    with np.errstate(over="ignore"):
        total = array.sum()
    if total > _MOST_WEIGHT:
        raise OverflowError(f"sample_weight sums to {total:.3g}, more than {_MOST_WEIGHT:.3g}: scale the weights down")
    return array


def weights(name: str, w: Any) -> NDArray[Any]:
    """Weights of an outcome: any numeric array with at least one category on the last axis, int64 or float64.

    Only dtype and shape are checked here; values are checked where the levels are made, or in the kernel.
    """
    array = unmasked(name, w)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension, got the number {array}")
    if array.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one category, got shape {array.shape}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) > 2**63 - 1:
        raise OverflowError(f"{name} holds {array.max()}: integer weights must be below 2**63")
    with np.errstate(over="ignore"):  # of long doubles: infinite, as such refused
        return array.astype(np.float64 if array.dtype.kind == "f" else np.int64, copy=False)


def smallest_unsigned(most: int) -> np.dtype[Any]:
    """The smallest unsigned dtype that holds `most`."""
    return np.dtype(np.min_scalar_type(max(0, most)))


def output(
    shape: tuple[int, ...], most: int, dtype: DTypeLike | None = None, out: Any = None, name: str = "out"
) -> NDArray[Any]:
    """The array that draws in [0, most] are written to: `out` itself once checked, or a new one of `dtype`."""
    if out is not None:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
        if dtype is not None and np.dtype(dtype) != out.dtype:
            raise TypeError(f"dtype is {np.dtype(dtype)}, but {name} has dtype {out.dtype}: pass one of them")
        if out.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError(f"{name} is read-only")
    chosen = out.dtype if out is not None else smallest_unsigned(most) if dtype is None else np.dtype(dtype)
    if chosen.kind not in "biuf":
        raise TypeError(f"dtype must be numeric, got {chosen}")
    limit = (
        1 if chosen.kind == "b" else np.iinfo(chosen).max if chosen.kind in "iu" else 2 ** (np.finfo(chosen).nmant + 1)
    )
    if most > limit:
        raise ValueError(f"dtype {chosen} cannot hold the outcome {most}; use {smallest_unsigned(most)}")
    return out if out is not None else np.empty(shape, chosen)
