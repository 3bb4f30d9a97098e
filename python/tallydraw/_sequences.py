"""Sequences of states, however they come: a 2-D array, a list of 1-D arrays, or one flat array with offsets.

The one place that turns them into what kernels read: contiguous flat codes and int64 offsets, block by block. A
C-contiguous 2-D or flat array is never copied; everything else is copied one block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend

__all__ = ["Block", "Sequences"]

_NO_STATES: NDArray[Any] = np.empty(0, np.int64)


class Block(NamedTuple):
    """Sequences [begin, end): number begin + i is ``states[offsets[i]:offsets[i + 1]]``."""

    begin: int
    end: int
    states: NDArray[Any]
    offsets: NDArray[np.int64]


class Sequences:
    """Checked sequences: ``len(s)`` of them, read by :meth:`blocks`.

    Parameters
    ----------
    S : array_like of int, shape (n, T), or list of 1-D array_like of int, or array_like of int, 1-D, with `offsets`
    offsets : array_like of int, shape (n + 1,), optional
        Sequence i is ``S[offsets[i]:offsets[i + 1]]``.
    name : str
        That of `S` in errors.
    more : str
        How to have more states, in the error for one that is too large.

    Raises
    ------
    TypeError
        States or offsets that are not integers.
    ValueError
        A wrong number of dimensions; offsets that do not start at 0, decrease, or do not end at the end of `S`.
    """

    _skip = "replace it by -1, a missing state"  # what can be done with a state that is none, where one may be missing

    def __init__(self, S: Any, offsets: Any = None, name: str = "S", more: str = "pass a larger n_states") -> None:
        self._name, self._more = name, more
        self._pieces: list[NDArray[Any]] | None = None
        self._array: NDArray[Any] = _NO_STATES
        if offsets is not None:
            if not isinstance(S, np.ndarray) and isinstance(S, (list, tuple)) and any(np.ndim(s) for s in S):
                raise ValueError(
                    f"offsets= needs one flat array {name}, got a {type(S).__name__} of sequences: leave it out"
                )
            self._array = _check.codes(name, S, ndim=1)
            self._offsets = _offsets(offsets, len(self._array), name)
        elif _is_list(S):
            self._pieces = [self._piece(i, s) for i, s in enumerate(S)]
            self._offsets = np.zeros(len(self._pieces) + 1, np.int64)
            np.cumsum([len(p) for p in self._pieces], out=self._offsets[1:])
            self._dtype = _common({p.dtype for p in self._pieces if len(p)})
        else:
            if np.ndim(S) == 1:
                raise ValueError(
                    f"{name} must be 2-D, a list of sequences, or flat with offsets=; got shape {np.shape(S)}: "
                    f"write [{name}] for one sequence"
                )
            self._array = _check.codes(name, S, ndim=2)
            n, length = self._array.shape
            self._offsets = np.arange(n + 1, dtype=np.int64) * length

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self._offsets)

    @property
    def name(self) -> str:
        return self._name

    def largest(self) -> int:
        """The largest state, or -1 where there is none."""
        arrays = self._pieces if self._pieces is not None else [self._array]
        return max((int(a.max()) for a in arrays if a.size), default=-1)

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """All sequences in order, in blocks of at most `most` states (or one sequence); default backend.BLOCK_WORK."""
        begin, n, last = 0, len(self), int(self._offsets[-1])
        while begin < n:
            first = int(self._offsets[begin])
            limit, end = first + (most or backend.BLOCK_WORK), n
            if limit < last:
                end = max(int(np.searchsorted(self._offsets, limit, side="right")) - 1, begin + 1)
            offsets = self._offsets[begin : end + 1]
            yield Block(begin, end, self._flat(begin, end), offsets - first if first else offsets)
            begin = end

    def blocks_with_gaps(self, gap_work: int) -> Iterator[Block]:
        """The same, where a missing state is so much work: no block holds more than :func:`backend.blocks` would."""
        for block in self.blocks():
            gaps = _gaps(block.states, gap_work)
            if gaps is None:
                yield block
                continue
            work = np.concatenate([[0], np.cumsum(1.0 + gap_work * gaps)])[block.offsets]
            a, n = 0, len(block.offsets) - 1
            while a < n:
                b = int(np.searchsorted(work, work[a] + backend.block_work(), side="right")) - 1
                b = min(n, max(b, a + 1))
                first, last = int(block.offsets[a]), int(block.offsets[b])
                offsets = block.offsets[a : b + 1] - first
                yield Block(block.begin + a, block.begin + b, block.states[first:last], offsets)
                a = b

    @staticmethod
    def parts(block: Block, order: int, gap_work: int) -> Iterator[tuple[int, int]]:
        """Where the states of a block may be cut: [a, b), each but the first beginning with the `order` states that
        the one before ends with, all observed. Only a sequence that is too much work by itself is cut.
        """
        n, most = len(block.states), backend.block_work()
        gaps = _gaps(block.states, gap_work) if len(block.offsets) == 2 else None
        if len(block.offsets) != 2 or n + (0 if gaps is None else gap_work * int(gaps.sum())) <= most:
            yield 0, n
            return
        if gaps is None:
            ends, done = np.arange(most, n, most), np.arange(most, n, most)
        else:
            missed = np.concatenate([[0], np.cumsum(gaps)])
            ends = order + np.flatnonzero(missed[order:] == missed[: n + 1 - order])
            done = ends + gap_work * missed[ends]  # work before each
        a, before = 0, 0
        while a < n:
            near = int(np.searchsorted(done, before + most, side="right")) - 1
            later = int(np.searchsorted(ends, a + order, side="right"))
            place = max(near, later)
            b = int(ends[place]) if place < len(ends) else n
            yield a, b
            if b == n:
                return
            a, before = b - order, int(done[place])

    def bad_state(self, block: Block, index: int, n_states: int, *, may_miss: bool = True) -> ValueError:
        """The error for ``block.states[index]``, which a kernel found to be no state; it `may_miss` states."""
        place, value = self._locate(block, index)
        remedy = f"{self._more}, or {self._skip}" if may_miss else self._more
        remedy += _check.wrapped(value, block.states.dtype)
        return ValueError(f"{place} is {value}, but there are {n_states} states (0 to {n_states - 1}): {remedy}")

    def missing_state(self, block: Block, index: int, remedy: str) -> ValueError:
        """The error for ``block.states[index]``, which is missing where it may not be."""
        place, value = self._locate(block, index)
        return ValueError(f"{place} is {value}, a missing state: {remedy}")

    def place(self, block: Block, index: int) -> str:
        """Where ``block.states[index]`` stands, and what it is, in words."""
        place, value = self._locate(block, index)
        return f"{place} is {value}"

    def _locate(self, block: Block, index: int) -> tuple[str, int]:
        # The last sequence that begins at or before the index; empty ones before it begin there too.
        i = int(np.searchsorted(block.offsets, index, side="right")) - 1
        step, sequence = index - int(block.offsets[i]), block.begin + i
        if self._pieces is not None:
            return f"{self._name}[{sequence}][{step}]", int(self._pieces[sequence][step])
        if self._array.ndim == 2:
            return f"{self._name}[{sequence}, {step}]", int(self._array[sequence, step])
        flat = int(self._offsets[sequence]) + step
        return f"{self._name}[{flat}] (sequence {sequence}, step {step})", int(self._array[flat])

    def _piece(self, i: int, s: Any) -> NDArray[Any]:
        return _check.codes(f"{self._name}[{i}]", s, ndim=1)

    def _flat(self, begin: int, end: int) -> NDArray[Any]:
        if self._pieces is None:
            if self._array.ndim == 2:
                return np.ascontiguousarray(self._array[begin:end]).reshape(-1)
            return np.ascontiguousarray(self._array[self._offsets[begin] : self._offsets[end]])
        states = np.empty(int(self._offsets[end] - self._offsets[begin]), self._dtype)
        at = 0
        for piece in self._pieces[begin:end]:
            if piece.dtype.itemsize == 8 and piece.dtype.kind == "u" and self._dtype.kind == "i":
                piece = np.minimum(piece, np.uint64(2**63 - 1))  # no state either way; the error shows the true value
            states[at : at + len(piece)] = piece
            at += len(piece)
        return states


def _gaps(states: NDArray[Any], gap_work: int) -> NDArray[np.bool_] | None:
    """Which states are missing; None where none is, or where even all of them would be few enough for one call."""
    if states.dtype.kind == "u" or len(states) * (1 + gap_work) <= backend.block_work() or int(states.min()) >= 0:
        return None
    return np.asarray(states < 0)


def _is_list(S: Any) -> bool:
    if hasattr(S, "dtype"):  # an array, or a column of a data frame
        return bool(S.dtype == object and np.ndim(S) == 1)
    return isinstance(S, (list, tuple)) and (len(S) == 0 or any(np.ndim(s) == 1 for s in S))


def _common(dtypes: set[np.dtype[Any]]) -> np.dtype[Any]:
    """One integer dtype for all states: NumPy's, but never a float for uint64 beside signed states."""
    if not dtypes:
        return np.dtype(np.int64)
    common = np.result_type(*dtypes)
    return common if common.kind in "iu" else np.dtype(np.int64)


def _offsets(offsets: Any, length: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"offsets must be 1-D with one entry more than there are sequences, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"offsets must be integers, got dtype {array.dtype}")
    if int(array[0]) != 0:
        raise ValueError(f"offsets[0], the begin of sequence 0, must be 0, got {array[0]}")
    past = np.flatnonzero(array > length)
    if past.size:
        raise ValueError(
            f"offsets[{past[0]}] is {array[past[0]]}, past the end of {name} ({length}): of sequence {past[0] - 1}"
        )
    array = array.astype(np.int64)
    falls = np.flatnonzero(np.diff(array) < 0)
    if falls.size:
        i = int(falls[0])
        raise ValueError(f"offsets must not decrease: sequence {i} would be {name}[{array[i]}:{array[i + 1]}]")
    if int(array[-1]) != length:
        raise ValueError(
            f"offsets end at {array[-1]}, {name} at {length}: {name}[{array[-1]}:] would be in no sequence"
        )
    return array
