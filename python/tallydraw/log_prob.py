"""Log-probabilities of rows under tables, and of sequences under a Markov chain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _distributions, backend
from tallydraw._chain import chain_rule, kept_chain, order_and_states, require_initial
from tallydraw._row_sums import row_sums
from tallydraw._sequences import Sequences
from tallydraw._structure import Structure, chain_structure
from tallydraw.tables import Tables

__all__ = ["log_prob_features", "log_prob_paths"]

_LOOKED_AT = 256
# Past this share of rows with missing cells all rows are scored as if they had some (measured): where contexts are at
# most one feature, so that these go by columns as well.
_ONE_PASS = {"cpp": 1 / 32, "numba": 1 / 4}
_ONE_PASS_BY_ROW = 1 / 2


def log_prob_features(
    X: Any, tables: Any, *, missing: int | None = None, unseen: str = "error", n_threads: int | None = None
) -> NDArray[np.float64]:
    """Log-probability of each row, or of each row under each class.

    Parameters
    ----------
    X : array_like of int, shape (n, d)
        Codes of any integer dtype and layout, never copied. A negative code, or `missing`, is a missing cell: it is
        summed out exactly.
    tables : Tables, or sequence of array_like
        Probabilities: each row of each table sums to one. Counts become probabilities by :meth:`Tables.normalize`.
    missing : int, optional
        A further code that means missing.
    unseen : {"error", "missing"}
        What a code is that the tables do not have.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (n,), or (n, K) where the tables have classes
        log p(x), or log p(x | y), never with a prior of the class. ``-inf`` where the row is impossible, never NaN.

    Raises
    ------
    TypeError
        `X` is not of integers.
    ValueError
        Counts, or a table row that does not sum to one (within 1e-9); a code out of range, naming row and column.

    Notes
    -----
    O(n d K), each sum from left to right over the features. Rows with missing cells, where features have parents, cost
    O(C_parent C_j) for each missing cell, and the product of the missing cells of a longer context: sum-product on the
    tree (Pearl, 1982), every number with its own exponent. Of many such rows most missing cells cost one look-up: what
    the cells around one make of it is tabulated, once, in `tables`, with the same bits.

    Examples
    --------
    >>> import tallydraw as td
    >>> t = td.Tables.from_arrays([[0.5, 0.5], [[1.0, 0.0], [0.25, 0.75]]], parents=[-1, 0])
    >>> td.log_prob_features([[0, 0], [0, 1], [-1, 1]], t)
    array([-0.69314718,        -inf, -0.98082925])
    """
    codes = _check.codes("X", X, ndim=2)
    theta = Tables.from_arrays(tables)
    if codes.shape[1] != len(theta):
        raise ValueError(f"X must have one column a table ({len(theta)}), got shape {codes.shape}")
    require_probabilities(theta)
    skip = None if missing is None else _check.natural("missing", missing, least=-(2**63))
    first = np.zeros(theta.structure.n_classes)
    result = score_features(codes, theta, first, missing=skip, unseen=unseen, n_threads=n_threads)
    return result[:, 0] if theta.n_classes is None else result


def log_prob_paths(
    S: Any, transition: Any, *, offsets: Any = None, initial_weights: Any = None, n_threads: int | None = None
) -> NDArray[np.float64]:
    """Log-probability of each sequence under a homogeneous Markov chain.

    Parameters
    ----------
    S : array_like of int, shape (n, T), or list of 1-D arrays, or one flat array with `offsets`
        States, 0 to C - 1. A negative state is missing; at order 1 it is summed out exactly.
    transition : array_like, shape (C,) * (k + 1), or Tables
        Probabilities of the next state (last axis) given the k states before it, the oldest first: a chain of order k.
        Each row sums to one. A `Tables` has a table for each of the first k states as well, each given those before
        it, and the transition last; it keeps what is prepared from it for the next call.
    offsets : array_like of int, shape (n + 1,), optional
        Sequence i is ``S[offsets[i]:offsets[i + 1]]``.
    initial_weights : array_like, shape (C,) * k, optional
        Joint probabilities of the first k states, which sum to one. None: they are given, and add nothing. Not taken
        with a `Tables`: its first k tables are the probabilities of the first k states.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (n,)
        0.0 for an empty sequence, ``-inf`` for an impossible one.

    Raises
    ------
    TypeError
        States are not integers.
    ValueError
        Probabilities that do not sum to one (within 1e-9), naming the row; a `Tables` that is no chain, or holds
        counts; a state not below C, naming the sequence; a missing state where the order is not 1; wrong offsets.

    Notes
    -----
    O(1) for each step, O(C**2) for each missing one. Missing states before the first known one are summed over
    `initial_weights`; without these the sequence is scored from its first known state. A sequence shorter than k has
    the probability of its states under `initial_weights`, or without these one. A call takes C**(k + 1) logs of an
    array; of a `Tables`, as ``MarkovChain(homogeneous=True).probabilities_`` is, only the first does.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.log_prob_paths([[0, 1, 1], [0, -1, 1]], [[0.5, 0.5], [0.0, 1.0]])
    array([-0.69314718, -0.28768207])

    To score many batches, or the first state too:

    >>> chain = td.Tables.from_arrays([[0.25, 0.75], [[0.5, 0.5], [0.0, 1.0]]], parents=[-1, 0])
    >>> td.log_prob_paths([[0, 1, 1], [0, -1, 1]], chain)
    array([-2.07944154, -1.67397643])
    """
    kept = kept_chain(transition, initial_weights)
    if kept is not None:
        require_probabilities(kept, "transition")
        theta, use_start = kept, True
    else:
        theta, use_start = _chain_of(transition, initial_weights), initial_weights is not None
    pieces = Sequences(S, offsets, more="pass a transition of more states")
    return score_paths(pieces, theta, np.zeros(1), use_start=use_start, n_threads=n_threads)[:, 0]


# What models call -----------------------------------------------------------------------------------------------------


def score_features(
    codes: NDArray[Any],
    tables: Tables,
    first: NDArray[np.float64],
    *,
    missing: int | None = None,
    unseen: str = "error",
    n_threads: int | None = None,
    name: str = "X",
    maximize: bool = False,
) -> NDArray[np.float64]:
    """(n, K) log-probabilities of checked codes (n,) or (n, d) under tables of probabilities, from first[k] on.

    Missing cells are summed out, or, where `maximize`, at their most probable values.
    """
    lenient = _check.unseen_rule(unseen)
    wanted = _check.thread_count(n_threads)
    structure = tables.structure
    n, d, k = len(codes), structure.n_features, structure.n_classes
    out = np.empty((n, k))
    if _often_incomplete(codes, structure, missing, lenient):
        bad = _sum_out(codes, tables, first, missing, lenient, np.arange(n), out, wanted, maximize)
        if bad >= 0:
            raise _check.code_error(name, codes, bad, structure.n_categories)
        return out
    lanes = tables.lanes(backend.threads(wanted, len(tables.values)))
    for a, b in backend.blocks(n, d * (1 + k // 4)):
        block, sums, incomplete = codes[a:b], out[a:b], np.empty(b - a, np.uint8)
        team = backend.threads(wanted, (b - a) * d * k)
        bad = backend.kernels().log_prob_features(
            block, missing, lenient, structure, lanes.values, lanes.offsets, first, incomplete, sums, team
        )
        if bad >= 0:
            raise _check.code_error(name, codes, a * d + bad, structure.n_categories)
        if (len(structure.context) or maximize) and incomplete.any():
            rows = np.flatnonzero(incomplete)
            _sum_out(block, tables, first, missing, lenient, rows, sums, wanted, maximize)
    return out


def score_paths(
    pieces: Sequences,
    tables: Tables,
    first: NDArray[np.float64],
    *,
    use_start: bool = True,
    n_threads: int | None = None,
) -> NDArray[np.float64]:
    """(n, K) log-probabilities of checked sequences under the tables of a homogeneous chain, from first[k] on."""
    wanted = _check.thread_count(n_threads)
    structure = tables.structure
    theta = np.ascontiguousarray(tables.values, dtype=np.float64)
    k = structure.n_classes
    # Where classes fill one part, class lanes are what the kernel gathers from: K logs a combined code.
    logs = tables.lanes(backend.threads(wanted, len(theta))) if k in (1, 2, 4, 8) else tables.logs()
    out = np.empty((len(pieces), k))
    order = structure.n_features - 1
    gap_work = int(structure.n_categories[-1]) ** 2 * k if order == 1 else 0
    for block in pieces.blocks_with_gaps(gap_work):
        sums = out[block.begin : block.end]
        begin_at = first
        for a, b in pieces.parts(block, order, gap_work):
            whole = b - a == len(block.states)
            bad = backend.kernels().log_prob_paths(
                block.states[a:b],
                block.offsets if whole else np.array([0, b - a], np.int64),
                structure,
                theta,
                logs.values,
                logs.offsets,
                use_start and a == 0,
                begin_at,
                sums,
                backend.threads(wanted, (b - a) * k),
            )
            if bad >= 0:
                bad += a
                if block.states[bad] < 0:
                    raise pieces.missing_state(
                        block, bad, "only chains of order 1 sum it out; split the sequence there, or leave it out"
                    )
                raise pieces.bad_state(block, bad, int(structure.n_categories[-1]), may_miss=order == 1)
            begin_at = sums[0].copy() if not whole else first
    return out


def _sum_out(
    codes: NDArray[Any],
    tables: Tables,
    first: NDArray[np.float64],
    missing: int | None,
    lenient: bool,
    rows: NDArray[np.int64],
    out: NDArray[np.float64],
    wanted: int | None,
    maximize: bool,
) -> int:
    """out[rows], with their missing cells summed out, or at their most probable values; their first bad cell, or -1."""
    structure, logs = tables.structure, tables.logs()
    theta = np.ascontiguousarray(tables.values, dtype=np.float64)
    share = missing_share(codes, structure, missing, lenient, rows)
    totals = None if maximize else tables.totals(share * len(rows) * structure.n_features)
    work = pass_work(structure, share)
    for a, b in backend.blocks(len(rows), work):
        bad: int = backend.kernels().log_prob_messages(
            codes,
            missing,
            lenient,
            structure,
            theta,
            logs.plain,
            tables.cells(),
            logs.values,
            logs.offsets,
            totals,
            first,
            maximize,
            rows[a:b],
            out,
            backend.threads(wanted, (b - a) * work),
        )
        if bad >= 0:
            return bad
    return -1


def _often_incomplete(codes: NDArray[Any], structure: Structure, missing: int | None, lenient: bool) -> bool:
    """Whether so many rows seem to have missing cells that depend on others that all are scored in one pass."""
    if not len(structure.context) or len(codes) <= _LOOKED_AT:
        return False
    by_columns = int(np.diff(structure.context_begin).max()) == 1
    gone = _gone(codes, structure, missing, lenient, None)
    return float(gone.any(axis=1).mean()) > (_ONE_PASS[backend.active()] if by_columns else _ONE_PASS_BY_ROW)


def pass_work(structure: Structure, share: float) -> int:
    """The work of messages through a row of whose cells so large a share is missing, for :func:`backend.blocks`.

    Where parents are missing too it is that of whole tables, a vector at a time.
    """
    return structure.n_features * structure.n_classes + int(share * int(structure.offsets[-1])) // 8


def missing_share(
    codes: NDArray[Any], structure: Structure, missing: int | None, lenient: bool, rows: NDArray[np.int64] | None = None
) -> float:
    """About which share of checked codes is missing, from a few rows all over them."""
    gone = _gone(codes, structure, missing, lenient, rows)
    return float(gone.mean()) if gone.size else 0.0


def _gone(
    codes: NDArray[Any], structure: Structure, missing: int | None, lenient: bool, rows: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Which cells are missing in a few rows all over them, _LOOKED_AT at least where there are so many."""
    n = len(codes) if rows is None else len(rows)
    which = np.arange(0, n, max(1, n // _LOOKED_AT))
    some = codes[which if rows is None else rows[which]]
    gone: NDArray[np.bool_] = some < 0
    if missing is not None:
        gone |= some == missing
    if lenient:
        gone |= some >= structure.n_categories
    return gone


def require_probabilities(tables: Tables, name: str = "tables") -> None:
    """Raise for counts, and for the first table row that does not sum to one."""
    normalized = f"Tables.from_arrays({name}).normalize()"
    if tables.values.dtype.kind == "i":
        raise ValueError(f"{name} must hold probabilities, not counts (int64): pass {normalized}")
    if tables._sums_to_one:  # looked at before
        return
    for begin, end, c in tables.structure.runs():
        rows = tables.values[begin:end].reshape(-1, c)
        for a, b in backend.blocks(len(rows), c):
            sums = row_sums(rows[a:b])[0]
            wrong = np.flatnonzero(_distributions.not_one(sums, 1e-9))
            if wrong.size:
                row = a + int(wrong[0])
                j, (label, context, _) = tables.structure.locate(begin + row * c)
                place = f"{name}[{j}]"
                place += "" if tables.n_classes is None else f", class {label}"
                place += "" if int(tables.structure.n_contexts[j]) == 1 else f", row {context}"
                raise ValueError(
                    f"{place} sums to {sums[row - a]}, not to one: nothing is normalised in silence; pass {normalized}"
                )
    tables._sums_to_one = True


def _chain_of(transition: Any, initial_weights: Any) -> Tables:
    """The tables of a chain given as arrays; its first states are uniform where they are not given."""
    steps = _distributions.distributions("transition", transition, (-1,))
    order, c = order_and_states(steps.shape)
    if initial_weights is None:
        joint = np.full((c,) * order, 1.0 / c**order)
    else:
        given = np.asarray(initial_weights)
        require_initial(given, order, c)
        joint = _distributions.distributions("initial_weights", given.reshape(-1), (-1,)).reshape(given.shape)
    values = np.concatenate([part.reshape(-1) for part in [*chain_rule(joint, normalize=True), steps]])
    structure = chain_structure(c, order)
    parents = np.arange(order + 1) - 1
    return Tables(values, structure.n_categories, parents=parents, order=order, structure=structure)
