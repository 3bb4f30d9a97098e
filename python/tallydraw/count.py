"""Count: from rows of codes to tables. Maximum likelihood is these counts divided by their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _rows, backend
from tallydraw._count_pairs import count_pair_cells
from tallydraw._sequences import Block, Sequences
from tallydraw._structure import Structure, aligned_empty, make_structure, n_cells, parent_array, root_structure
from tallydraw.pairs import PairTables, alike, pair_cells
from tallydraw.tables import Tables

__all__ = ["count_categories", "count_features", "count_pairs", "count_rows", "count_transitions"]

# Where sizes that are found in the data, not asked for, make tables of so many cells (1 GiB) or more, and are so many
# categories a row or more, codes are identifiers, not 0, 1, 2, …
_MOST_CELLS, _MOST_A_ROW = 1 << 27, 64


def count_categories(
    x: Any, *, n_categories: int | None = None, sample_weight: Any = None, n_threads: int | None = None
) -> NDArray[Any]:
    """Count how often each category occurs.

    Parameters
    ----------
    x : array_like of int, shape (n,)
        Codes of any integer dtype and stride; a negative code is missing and not counted.
    n_categories : int, optional
        Default: the largest code + 1.
    sample_weight : array_like, shape (n,), optional
        Finite and non-negative. Counts are then float64, added in row order: the bits of ``np.bincount(weights=)``.
    n_threads : int, optional
        Default: what OMP_NUM_THREADS, the affinity and threadpoolctl allow.

    Returns
    -------
    ndarray, shape (C,)
        int64, or float64 with weights.

    Raises
    ------
    TypeError
        `x` is not of integers.
    ValueError
        A code is not below `n_categories` (naming the row), or `n_categories` is not given and `x` is empty, or its
        largest code is an identifier (counts of a GiB, and 64 categories a row).

    Notes
    -----
    One pass over `x`; memory O(C) a thread.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.count_categories([0, 2, 2, -1])
    array([1, 0, 2])
    """
    codes = _check.codes("x", x, ndim=1)
    c = infer_categories("x", codes) if n_categories is None else _check.category_counts(n_categories, 1)
    if n_categories is None:
        refuse_sparse("x", codes, c.tolist(), lambda: n_cells(c))
    structure = root_structure(c)
    return count_cells(codes, None, structure, sample_weight=sample_weight, n_threads=n_threads, name="x")


def count_features(
    X: Any,
    *,
    y: Any = None,
    n_categories: Any = None,
    n_classes: int | None = None,
    parents: Any = None,
    sample_weight: Any = None,
    missing: int | None = None,
    unseen: str = "error",
    n_threads: int | None = None,
) -> Tables:
    """Count the categories of every feature, for each class and each category of its parent.

    Parameters
    ----------
    X : array_like of int, shape (n, d)
        Codes of any integer dtype and layout, never copied as a whole. Negative codes, and `missing`, are not counted,
        nor is a cell whose parent is missing (the available-case estimate).
    y : array_like of int, shape (n,), optional
        The class of each row, 0 to K - 1.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code of each feature + 1.
    n_classes : int, optional
        Default: the largest class + 1.
    parents : array_like of int, shape (d,), optional
        The parent of each feature, -1 for a root.
    sample_weight : array_like, shape (n,), optional
        Finite and non-negative. Counts are then float64, each cell added in row order.
    missing : int, optional
        A further code that means missing.
    unseen : {"error", "missing"}
        What a code not below `n_categories` is.
    n_threads : int, optional

    Returns
    -------
    Tables
        Table j has shape ``([K,] [C_parent,] C_j)``; int64, or float64 with weights.

    Raises
    ------
    TypeError
        Codes or classes are not integers.
    ValueError
        A code out of range (naming row, column, value and C_j), a missing class, or lengths that do not fit. Sizes that
        are not given, where the largest code is an identifier: tables of a GiB and 64 categories a row.

    Notes
    -----
    One pass over `X` (each thread reads the rows, or the features, it owns); memory: the tables, and scratch of at most
    1 MiB a thread. Counts are exact for any number of threads.

    Examples
    --------
    >>> import tallydraw as td
    >>> t = td.count_features([[0, 1], [1, 2], [0, -1]], y=[0, 1, 0])
    >>> t[0]
    array([[2, 0],
           [0, 1]])
    >>> t[1]
    array([[0, 1, 0],
           [0, 0, 1]])
    """
    codes = _check.codes("X", X, ndim=2)
    n, d = codes.shape
    if d == 0:
        raise ValueError("X must have at least one feature, got shape " + str(codes.shape))
    skip = None if missing is None else _check.natural("missing", missing, least=-(2**63))
    sizes = (
        infer_categories("X", codes, missing=skip) if n_categories is None else _check.category_counts(n_categories, d)
    )
    classes, k = (None, None) if y is None else _check.class_codes(y, n, n_classes)
    if y is None and n_classes is not None:
        raise ValueError("n_classes is given without y")
    checked = None if parents is None else parent_array(parents, d)
    if classes is not None and n_classes is None:
        refuse_sparse("y", classes, [k or 1], lambda: n_cells(sizes, checked, k), "classes")
    if n_categories is None:
        refuse_sparse("X", codes, sizes.tolist(), lambda: n_cells(sizes, checked, k))
    structure = root_structure(sizes, k) if checked is None else make_structure(sizes, checked, k)
    counts = count_cells(
        codes, classes, structure, sample_weight=sample_weight, missing=skip, unseen=unseen, n_threads=n_threads
    )
    return Tables(counts, sizes, parents=checked, n_classes=k, structure=structure)


def count_pairs(
    X: Any,
    *,
    y: Any = None,
    n_categories: Any = None,
    n_classes: int | None = None,
    sample_weight: Any = None,
    missing: int | None = None,
    unseen: str = "error",
    n_threads: int | None = None,
) -> PairTables:
    """Count the contingency tables of all pairs of features, for each class.

    Parameters
    ----------
    X : array_like of int, shape (n, d)
        Codes of any integer dtype and layout, never copied as a whole. Negative codes, and `missing`, are missing: a
        pair with a missing cell is not counted (available cases, pair by pair).
    y : array_like of int, shape (n,), optional
        The class of each row, 0 to K - 1.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code of each feature + 1.
    n_classes : int, optional
        Default: the largest class + 1.
    sample_weight : array_like, shape (n,), optional
        Finite and non-negative. Counts are then float64, each cell added in row order.
    missing : int, optional
        A further code that means missing.
    unseen : {"error", "missing"}
        What a code not below `n_categories` is.
    n_threads : int, optional

    Returns
    -------
    PairTables
        ``t[i, j]`` has shape ``([K,] C_i, C_j)``; int64, or float64 with weights.

    Raises
    ------
    TypeError
        Codes or classes are not integers.
    ValueError
        A code out of range (naming row, column, value and C_j), a missing class, or lengths that do not fit. Sizes that
        are not given, where the largest code is an identifier: tables of a GiB and 64 categories a row.
    MemoryError
        The tables do not fit into memory, naming their bytes.

    Notes
    -----
    Features of few categories are counted as bits, 64 rows and several columns at once: a pair costs about
    n * C_i * C_j / 500 steps; others cost an increment a row and pair. Memory: the tables, and some megabytes of
    scratch. Counts are exact for any number of threads.

    Examples
    --------
    >>> import tallydraw as td
    >>> t = td.count_pairs([[0, 1], [1, 2], [0, -1]], y=[0, 1, 0])
    >>> t[0, 1].tolist()
    [[[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]]
    """
    codes = _check.codes("X", X, ndim=2)
    n, d = codes.shape
    if d == 0:
        raise ValueError("X must have at least one feature, got shape " + str(codes.shape))
    skip = None if missing is None else _check.natural("missing", missing, least=-(2**63))
    sizes = (
        infer_categories("X", codes, missing=skip) if n_categories is None else _check.category_counts(n_categories, d)
    )
    classes, k = (None, None) if y is None else _check.class_codes(y, n, n_classes)
    if y is None and n_classes is not None:
        raise ValueError("n_classes is given without y")
    if classes is not None and n_classes is None:
        refuse_sparse("y", classes, [k or 1], lambda: pair_cells(sizes, k, alike(sizes)), "classes")
    if n_categories is None:
        refuse_sparse("X", codes, sizes.tolist(), lambda: pair_cells(sizes, k, alike(sizes)))
    weights = None if sample_weight is None else _check.sample_weight(sample_weight, n)[:, None]
    return count_pair_cells(codes, classes, sizes, k, weights=weights, missing=skip, unseen=unseen, n_threads=n_threads)


def count_transitions(
    S: Any, *, offsets: Any = None, n_states: int | None = None, order: int = 1, n_threads: int | None = None
) -> NDArray[np.int64]:
    """Count the transitions of sequences of states.

    Parameters
    ----------
    S : array_like of int, shape (n, T), or list of 1-D arrays, or one flat array with `offsets`
        States, 0 to C - 1. A negative state breaks its sequence: no transition touches it. Nothing is counted across
        sequences.
    offsets : array_like of int, shape (m + 1,), optional
        Sequence i is ``S[offsets[i]:offsets[i + 1]]``.
    n_states : int, optional
        Default: the largest state + 1.
    order : int, default 1
        A transition is from `order` states to the next.
    n_threads : int, optional

    Returns
    -------
    ndarray of int64, shape (C,) * (order + 1)
        ``[i, j]`` counts the steps from i to j. Rows of states never left are zero.

    Raises
    ------
    TypeError
        States are not integers.
    ValueError
        A state is not below `n_states`, or offsets do not fit; or `n_states` is not given and there is no state, or the
        largest is an identifier (counts of a GiB, and 64 states a step).

    Notes
    -----
    One pass over the states; memory O(C**(order + 1)) a thread. Exact for any number of threads.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.count_transitions([[0, 1, 1], [1, -1, 0]])
    array([[0, 1],
           [0, 1]])
    """
    pieces = Sequences(S, offsets)
    k = _check.natural("order", order, least=1, most=62)
    c = infer_states(pieces, "n_states=") if n_states is None else _check.natural("n_states", n_states, least=1)
    if n_states is None:
        refuse_sparse_states(pieces, c, c ** (k + 1), "n_states=")
    return count_steps(pieces, None, c, 1, k, n_threads=n_threads).reshape((c,) * (k + 1))


def count_rows(X: Any, *, sample_weight: Any = None, n_threads: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Count how often each distinct row occurs.

    Parameters
    ----------
    X : array_like of int, shape (n, d)
        Codes. A negative code is a value like any other here.
    sample_weight : array_like, shape (n,), optional
        Finite and non-negative. Counts are then float64, added in row order.
    n_threads : int, optional
        Taken as everywhere; sorting uses one thread.

    Returns
    -------
    rows : ndarray, shape (m, d)
        The distinct rows, sorted by the first feature, then the second, …, in the dtype of `X`.
    counts : ndarray, shape (m,)
        int64, or float64 with weights.

    Notes
    -----
    Sorts n keys of as many 64-bit words as the combinations need: O(n log n) whatever d is.

    Examples
    --------
    >>> import tallydraw as td
    >>> rows, counts = td.count_rows([[1, 0], [0, 1], [1, 0]])
    >>> rows.tolist(), counts.tolist()
    ([[0, 1], [1, 0]], [1, 2])
    """
    codes = _check.codes("X", X, ndim=2)
    _check.thread_count(n_threads)
    if sample_weight is None:
        return _rows.distinct_counts(codes)
    weights = _check.sample_weight(sample_weight, len(codes))
    rows, _, group = _rows.distinct(codes)
    return rows, np.bincount(group, weights, minlength=len(rows))


# What models call -----------------------------------------------------------------------------------------------------


def infer_categories(name: str, x: NDArray[Any], *, missing: int | None = None) -> NDArray[np.int64]:
    """(d,) largest code + 1 of each feature of (n,) or (n, d) codes; 1 where nothing is seen."""
    if x.shape[0] == 0:
        raise ValueError(f"{name} has no rows: pass n_categories=")
    if x.ndim == 2 and x.shape[1] == 0:
        raise ValueError(f"{name} must have at least one feature, got shape {x.shape}")
    columns = x.reshape(len(x), -1) if x.ndim == 1 else x
    most = np.zeros(columns.shape[1], columns.dtype)
    for a, b in backend.blocks(len(columns), 4 * columns.shape[1]):
        block = columns[a:b]
        if missing is not None and (block == missing).any():
            block = np.where(block == missing, 0, block)
        np.maximum(most, _rows.along_columns(np.maximum, block), out=most)
    if int(most.max()) >= 2**63 - 1:
        column = int(most.argmax())
        raise ValueError(f"{_first_place(name, x, column, int(most[column]))}: codes must be below 2**63 - 1")
    return most.astype(np.int64) + 1


def infer_states(pieces: Sequences, argument: str) -> int:
    """The largest state + 1; `argument` is what to pass where there is none."""
    most = pieces.largest()
    if most < 0:
        raise ValueError(f"{pieces.name} has no state: pass {argument}")
    if most >= 2**63 - 1:
        raise ValueError(f"{_state_place(pieces, most)}: states must be below 2**63 - 1")
    return most + 1


def refuse_sparse(
    name: str, x: NDArray[Any], sizes: Sequence[int], cells: Callable[[], int], what: str = "categories"
) -> None:
    """Raise where `sizes`, found in checked codes (n,) or (n, d), make tables that are large and all but empty."""
    most = max(sizes)
    if most < _MOST_A_ROW * len(x) or cells() < _MOST_CELLS:
        return
    column = list(sizes).index(most)
    has = f"feature {column} would have" if x.ndim == 2 else "there would be"
    place = _first_place(name, x, column, most - 1)
    argument = f"n_{what}= where all of them are meant{_check.wrapped(most - 1, x.dtype)}"
    raise _too_sparse(f"{place}: {has} {most} {what}", cells(), f"{len(x)} rows", argument)


def refuse_sparse_states(pieces: Sequences, n_states: int, cells: int, argument: str) -> None:
    """As :func:`refuse_sparse`, of the largest state + 1 of checked sequences."""
    steps = int(pieces.lengths.sum())
    if n_states >= _MOST_A_ROW * steps and cells >= _MOST_CELLS:
        place = _state_place(pieces, n_states - 1)
        argument += " where all of them are meant"
        raise _too_sparse(f"{place}: there would be {n_states} states", cells, f"{steps} steps", argument)


def _too_sparse(found: str, cells: int, rows: str, argument: str) -> ValueError:
    return ValueError(
        f"{found}, and {_check.shown(8 * cells)} bytes of tables for {rows}: give the values that occur the codes "
        f"0, 1, 2, … by values, codes = np.unique(values, return_inverse=True), or pass {argument}"
    )


def _first_place(name: str, x: NDArray[Any], column: int, code: int) -> str:
    """Where a code of a column stands first, and what it is."""
    row = int(((x if x.ndim == 1 else x[:, column]) == code).argmax())
    return f"{name}[{row}{f', {column}' if x.ndim == 2 else ''}] is {code}"


def _state_place(pieces: Sequences, state: int) -> str:
    """Where a state stands first, and what it is."""
    for block in pieces.blocks():
        at = np.flatnonzero(block.states == state)
        if at.size:
            return pieces.place(block, int(at[0]))
    raise AssertionError(f"{state} is no state")


def count_cells(
    codes: NDArray[Any],
    classes: NDArray[np.int64] | None,
    structure: Structure,
    *,
    sample_weight: Any = None,
    missing: int | None = None,
    unseen: str = "error",
    n_threads: int | None = None,
    name: str = "X",
) -> NDArray[Any]:
    """Flat counts of checked codes (n,) or (n, d) under a structure: int64, or float64 with weights."""
    n = len(codes)
    if structure.n_features == 0:
        raise ValueError(f"{name} must have at least one feature, got shape {codes.shape}")
    weights = None if sample_weight is None else _check.sample_weight(sample_weight, n)
    lenient = _check.unseen_rule(unseen)
    wanted = _check.thread_count(n_threads)
    cells = structure.n_features
    counts = _new_counts(structure, np.int64 if weights is None else np.float64, name)
    kernels = backend.kernels()
    for a, b in backend.blocks(n, cells):
        y = None if classes is None else classes[a:b]
        team = backend.threads(wanted, (b - a) * cells)
        if weights is None:
            bad = kernels.count_features(codes[a:b], y, missing, lenient, structure, counts, team)
        else:
            bad = kernels.count_features_weighted(
                codes[a:b], y, missing, lenient, structure, weights[a:b], counts, team
            )
        if bad >= 0:
            raise _check.code_error(name, codes, a * cells + bad, structure.n_categories)
    if weights is not None and not np.isfinite(counts).all():
        raise OverflowError("sample_weight: the weights of a cell sum to infinity; scale them down")
    return counts


def count_soft_cells(
    codes: NDArray[Any],
    structure: Structure,
    weights: NDArray[np.float64],
    *,
    missing: int | None = None,
    unseen: str = "error",
    n_threads: int | None = None,
    name: str = "X",
) -> NDArray[np.float64]:
    """Flat sums of checked codes (n,) or (n, d) whose row r is of every class k, with weight weights[r, k]."""
    lenient = _check.unseen_rule(unseen)
    wanted = _check.thread_count(n_threads)
    offsets = structure.lane_offsets()
    k, d = structure.n_classes, structure.n_features
    lanes = aligned_empty(int(offsets[-1]))
    lanes.fill(0.0)
    for a, b in backend.blocks(len(codes), d * (1 + k // 4)):
        team = backend.threads(wanted, (b - a) * d * k)
        bad = backend.kernels().count_features_soft(
            codes[a:b], missing, lenient, structure, offsets, weights[a:b], lanes, team
        )
        if bad >= 0:
            raise _check.code_error(name, codes, a * d + bad, structure.n_categories)
    counts = np.empty(int(structure.offsets[-1]))
    backend.kernels().collect_lanes(structure, lanes, offsets, counts)
    return counts


def _new_counts(structure: Structure, dtype: type, name: str) -> NDArray[Any]:
    total = int(structure.offsets[-1])
    try:
        return np.zeros(total, dtype)
    except MemoryError:
        sizes = np.diff(structure.offsets)
        j = int(sizes.argmax())
        classes = f" in each of {structure.n_classes} classes" if structure.n_classes > 1 else ""
        raise MemoryError(
            f"the tables need {8 * total} bytes, those of feature {j} of {name} {8 * int(sizes[j])}, since it has "
            f"{structure.n_categories[j]} categories{classes}: encode the values that occur as 0, 1, 2, …"
        ) from None


def count_steps(
    pieces: Sequences,
    classes: NDArray[np.int64] | None,
    n_states: int,
    n_classes: int,
    order: int,
    *,
    n_threads: int | None = None,
) -> NDArray[np.int64]:
    """Flat ([K,] C, …, C) counts of the transitions of checked sequences."""
    cells = n_classes * n_states ** (order + 1)
    if cells >= 2**60:
        raise ValueError(
            f"n_states = {n_states} at order {order} needs {_check.shown(8 * cells)} bytes: "
            "too many to address; encode the states that occur as 0, 1, 2, …, or lower the order"
        )
    wanted = _check.thread_count(n_threads)
    try:
        counts = np.zeros(cells, np.int64)
    except MemoryError:
        raise MemoryError(
            f"the table of {n_states} states at order {order} needs {_check.shown(8 * cells)} bytes: encode the states "
            "that occur as 0, 1, 2, …, or lower the order"
        ) from None
    for block in pieces.blocks():
        y = None if classes is None else classes[block.begin : block.end]
        for part, begin in _parts(block, order):
            team = backend.threads(wanted, len(part.states))
            bad = backend.kernels().count_transitions(part.states, part.offsets, y, n_states, order, counts, team)
            if bad >= 0:
                raise pieces.bad_state(block, begin + bad, n_states)
    return counts


def _parts(block: Block, order: int) -> Iterator[tuple[Block, int]]:
    """A block, or a sequence longer than one in parts, and where each begins.

    Each part but the first repeats the `order` states before it, so every step ends in exactly one part.
    """
    n = len(block.states)
    if block.end - block.begin > 1 or n <= backend.BLOCK_WORK:
        yield block, 0
        return
    for a in range(0, n, backend.BLOCK_WORK):
        begin = max(0, a - order)
        states = block.states[begin : a + backend.BLOCK_WORK]
        yield Block(block.begin, block.end, states, np.array([0, len(states)], np.int64)), begin
