"""Paths of a homogeneous Markov chain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, _levels, backend
from tallydraw._chain import chain_rule, kept_chain, order_and_states, require_initial
from tallydraw._structure import Structure, chain_structure
from tallydraw.sample import _blocks

__all__ = ["sample_paths"]


def sample_paths(
    transition: Any,
    n: int,
    length: int,
    *,
    initial_state: Any = None,
    initial_weights: Any = None,
    rng: Any = None,
    start: int = 0,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
) -> NDArray[Any]:
    """Draw paths of a Markov chain, in the smallest unsigned dtype that holds every state: unsigned arithmetic wraps.

    Parameters
    ----------
    transition : array_like, shape (C,) * (k + 1), or Tables
        Weights of the next state (last axis) given the k states before it, the oldest first: a chain of order k. Each
        row is finite, non-negative and of any positive sum. A `Tables` of a chain, as in :func:`log_prob_paths`, draws
        the first k states from its own first k tables, and keeps what is prepared from it for the next call.
    n, length : int
        Number of paths and of steps, start states included.
    initial_state : int, or array_like of int, shape (k,), (n,) or (n, k), optional
        The first k states, of all paths or of each; shape (n,) where k is 1.
    initial_weights : array_like, shape (C,) * k, optional
        Joint weights of the first k states, which are drawn one by one by the chain rule. At most one of the two;
        without either, start states are uniform. Not taken with a `Tables`.
    rng : None, int, SeedSequence, BitGenerator, Generator or RandomState, optional
    start : int, default 0
        Number of the first path: paths [a, b) of a seed can be drawn alone with ``start=a``.
    dtype : dtype, optional
        Any numeric dtype that holds every state.
    out : ndarray, shape (n, length), optional
        Where to write, of any layout.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray, shape (n, length)

    Raises
    ------
    ValueError
        A row that is no distribution, naming its place; a `Tables` that is no chain; a start state outside 0 … C - 1;
        both kinds of start.

    Notes
    -----
    O(n length) expected. Step t of path i is a function of the seed, i and t alone.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.sample_paths([[0, 1], [1, 0]], 2, 6, initial_state=[0, 1], rng=1)
    array([[0, 1, 0, 1, 0, 1],
           [1, 0, 1, 0, 1, 0]], dtype=uint8)
    """
    kept = kept_chain(transition, initial_weights)
    if kept is not None:
        structure, levels = kept.structure, kept.levels("transition")
    else:
        structure, levels = _prepared(transition, initial_weights)
    order, states = structure.n_features - 1, int(structure.n_categories[-1])
    n, length = _check.natural("n", n), _check.natural("length", length, most=2**34 - 1)
    if initial_state is not None and initial_weights is not None:
        raise ValueError("pass initial_state or initial_weights, not both")
    initial = None if initial_state is None else start_states(initial_state, n, order, states)
    start = _check.first_number(start, n)
    n_threads = _check.thread_count(n_threads)
    result = _check.output((n, length), states - 1, dtype, out)
    write_paths(result, structure, levels, None, initial, _check.key(rng), start, n_threads)
    return result


def start_states(
    initial_state: Any, n: int, order: int, n_states: int, name: str = "initial_state"
) -> NDArray[np.int64]:
    """(n, order) checked start states from one for all paths, or one (or `order`) a path."""
    array = np.asarray(initial_state)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer states, got dtype {array.dtype}")
    shapes = [(), (order,), (n, order)] + ([(n,)] if order == 1 else [])
    if array.shape not in shapes:
        expected = ", ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"{name} must have one of the shapes {expected}, got {array.shape}")
    bad = (array < 0) | (array >= n_states)
    if bad.any():
        place = [int(i) for i in np.argwhere(bad)[0]]
        where = f"{name}{place}" if place else name
        raise ValueError(f"{where} is {array[tuple(place)]}, but there are {n_states} states (0 to {n_states - 1})")
    if order == 1 and array.ndim == 1:
        array = array[:, None]
    return np.ascontiguousarray(np.broadcast_to(array, (n, order)), dtype=np.int64)


def _prepared(transition: Any, initial_weights: Any) -> tuple[Structure, _levels.Levels]:
    """Of a chain given as arrays."""
    weights = _check.weights("transition", transition)
    order, states = order_and_states(weights.shape)
    _check_rows("transition", weights)
    if initial_weights is None:
        joint = np.ones((states,) * order, np.int64)
    else:
        joint = _check.weights("initial_weights", initial_weights)
        require_initial(joint, order, states)
        _check_rows("initial_weights", joint.reshape(-1) if order > 1 else joint, joint.shape)
    structure = chain_structure(states, order)
    parts = [*chain_rule(_summable(joint), normalize=False), weights]
    names = [*["initial_weights"] * order, "transition"]
    level = [_levels.row_levels(w.reshape(-1, states), name) for w, name in zip(parts, names, strict=True)]
    return structure, _levels.with_guides(np.concatenate([part.reshape(-1) for part in level]), structure)


def _check_rows(name: str, weights: NDArray[Any], shape: tuple[int, ...] | None = None) -> None:
    """Raise for the first weight that is none, then for the first row of zeros; `shape` is that of the whole array."""
    if weights.size and not (weights.min() >= 0 and np.isfinite(weights.max())):  # NaN is neither
        good = (weights >= 0) & np.isfinite(weights)
        place = [int(i) for i in np.argwhere(~good)[0]]
        named = [int(i) for i in np.unravel_index(place[0], shape)] if shape and len(place) == 1 else place
        raise ValueError(f"{name}{named} is {weights[tuple(place)]}: weights must be finite and non-negative")
    empty = ~weights.any(axis=-1)
    if empty.any():
        row = [int(i) for i in np.argwhere(empty)[0]]
        raise ValueError(f"{name}{row or ''} sums to zero: nothing can be drawn from it")


def _summable(joint: NDArray[Any]) -> NDArray[Any]:
    """The weights of the first states, or these times 2**-64, so that their sums are finite."""
    if joint.dtype.kind == "i" and joint.sum(dtype=np.float64) >= 2.0**62:
        total = sum(int(w) for w in joint.reshape(-1))
        if total > 2**63 - 1:
            raise OverflowError(
                f"initial_weights sum to {total}: integer weights must sum to less than 2**63; pass them as floats"
            )
    with np.errstate(over="ignore"):
        if joint.dtype.kind == "f" and not np.isfinite(joint.sum()):
            joint = np.ldexp(joint, -64)
    return joint


def write_paths(
    out: NDArray[Any],
    structure: Structure,
    levels: _levels.Levels,
    y: NDArray[np.int64] | None,
    initial: NDArray[np.int64] | None,
    key: int,
    start: int,
    n_threads: int | None,
) -> None:
    """Paths start, start + 1, … of the stream into `out` (n, length), checked already.

    `structure` and `levels` are those of a homogeneous chain of order k: features 0 … k - 1 start it, feature k is the
    transition of each later step. `y` (n,) are classes, `initial` (n, k) given start states.
    """
    kernels = backend.kernels()
    order, states = structure.n_features - 1, int(structure.n_categories[-1])
    length = out.shape[1]
    threads = backend.threads(n_threads, out.size)

    def draw(a: int, b: int, block: NDArray[Any]) -> None:
        classes = None if y is None else y[a:b]
        # A path of very many steps is drawn piece by piece, each from the last states of the one before.
        before = None if initial is None else initial[a:b]
        for step, end in backend.blocks(length, b - a):
            whole = step == 0 and end == length
            piece = block if whole else np.empty((b - a, end - step), block.dtype)
            kernels.sample_paths(structure, levels, classes, before, key, start + a, step, piece, threads)
            if not whole:
                block[:, step:end] = piece
                before = np.ascontiguousarray(block[:, max(0, end - order) : end], dtype=np.int64)

    _blocks.write(out, states - 1, max(1, length), draw)
