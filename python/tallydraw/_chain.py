"""A homogeneous Markov chain as users give it: an array of transitions, or Tables, which hold its first states too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._row_sums import row_sums
from tallydraw.tables import Tables


def order_and_states(shape: tuple[int, ...]) -> tuple[int, int]:
    """(k, C) of an array of transitions, whose shape is (C,) * (k + 1)."""
    order, states = len(shape) - 1, shape[-1]
    if order < 1 or shape != (states,) * (order + 1):
        raise ValueError(f"transition must have shape (C, C), or (C,) * (k + 1) for order k, got {shape}")
    return order, states


def require_initial(initial_weights: NDArray[Any], order: int, states: int) -> None:
    """Raise unless there is a weight for each combination of the first k states."""
    if initial_weights.shape != (states,) * order:
        raise ValueError(f"initial_weights must have shape {(states,) * order}, got {initial_weights.shape}")


def chain_rule(joint: NDArray[Any], *, normalize: bool) -> list[NDArray[Any]]:
    """Weights of state t given the states before it, for each t; rows that cannot be reached are uniform.

    From int64 or float64 weights of the first k states. Integers are summed exactly, floats left to right; not
    normalized they stay integers.
    """
    parts: list[NDArray[Any]] = []
    before: NDArray[Any] = np.ones(())
    for t in range(joint.ndim):
        rows = joint.reshape(*joint.shape[: t + 1], -1)
        now = rows.sum(axis=-1) if joint.dtype.kind == "i" else row_sums(rows)[0]
        reached = now.any(axis=-1, keepdims=True)
        part = np.where(reached, now, 1)
        parts.append(part / np.where(reached, before[..., None], now.shape[-1]) if normalize else part)
        before = now
    return parts


def kept_chain(transition: Any, initial_weights: Any) -> Tables | None:
    """Checked Tables of a chain, or None where it should be an array."""
    if isinstance(transition, Tables):
        _require_chain(transition, initial_weights)
        return transition
    _check.refuse_model("transition", transition)
    if isinstance(transition, (list, tuple)) and len({np.ndim(table) for table in transition}) > 1:
        raise ValueError(
            f"transition is a {type(transition).__name__} of tables of different dimensions: pass the last of them, "
            "with initial_weights=, or all as Tables.from_arrays(transition, parents=[-1, 0, …])"
        )
    return None


def _require_chain(transition: Tables, initial_weights: Any) -> None:
    """Raise unless the tables are a chain's: one of each of its first k states, and the transition last."""
    if initial_weights is not None:
        raise ValueError(
            "initial_weights are for a transition that is an array: a Tables holds the probabilities of the first "
            "states already; leave them out, or make other Tables with them"
        )
    if transition.n_classes is not None:
        raise ValueError(
            f"transition is a Tables with n_classes={transition.n_classes}, but a chain has no classes: pass "
            "transition.of_class(k), the chain of class k, or use MarkovChain(homogeneous=True) with y"
        )
    sizes, d = transition.n_categories.tolist(), len(transition)
    # Every table given all before it; no context names a feature twice, so that no other tree has this list of them.
    context = transition.structure.context.tolist()
    everything = d > 1 and len(context) == d * (d - 1) // 2 and context == [f for j in range(d) for f in range(j)]
    if not everything or len(set(sizes)) > 1:
        raise ValueError(
            f"transition is {transition}, which is no chain: one of order k is Tables.from_arrays([first, …, "
            "transition], parents=[-1, 0, …, k - 1], order=k), with the same states in every table"
        )
