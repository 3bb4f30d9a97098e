"""Trees of features as indented text and as figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def children_of(parents: NDArray[np.int64]) -> list[list[int]]:
    """The children of each feature, and in the last list the roots."""
    children: list[list[int]] = [[] for _ in range(len(parents) + 1)]
    for j, parent in enumerate(parents.tolist()):
        children[parent].append(j)
    return children


def as_text(parents: NDArray[np.int64], names: list[str], notes: list[str]) -> str:
    """One line a feature, below and right of its parent; `notes` follow the names of features with a parent."""
    children = children_of(parents)
    lines = []
    stack = [(root, "", "") for root in reversed(children[-1])]
    while stack:
        j, branch, below = stack.pop()
        lines.append(f"{branch}{names[j]}" + (f"  {notes[j]}" if parents[j] >= 0 else ""))
        for place, child in enumerate(reversed(children[j])):
            stack.append((child, below + ("└─ " if place == 0 else "├─ "), below + ("   " if place == 0 else "│  ")))
    return "\n".join(lines)


def places(parents: NDArray[np.int64]) -> NDArray[np.float64]:
    """(d, 2) places of features: leaves side by side, parents over the middle of their children, roots on top."""
    children = children_of(parents)
    visit = list(children[-1])
    depth = np.zeros(len(parents))
    for j in visit:
        depth[children[j]] = depth[j] + 1
        visit.extend(children[j])
    left = np.zeros(len(parents))
    leaves = 0
    stack = [(root, False) for root in reversed(children[-1])]
    while stack:  # depth first, so that subtrees stay together
        j, done = stack.pop()
        if done:
            left[j] = (left[children[j][0]] + left[children[j][-1]]) / 2
        elif children[j]:
            stack.append((j, True))
            stack.extend((child, False) for child in reversed(children[j]))
        else:
            left[j] = leaves
            leaves += 1
    return np.stack([left, -depth], axis=1)


def draw(parents: NDArray[np.int64], names: list[str], information: NDArray[np.float64], ax: Any) -> Any:
    """Draw on matplotlib axes, new ones where None: an arc is the wider the more its features share."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plot needs matplotlib: pip install 'tallydraw[demo]', or print to_text()") from error
    if ax is None:
        ax = pyplot.figure().add_subplot()
    at = places(parents)
    most = float(information.max(initial=0.0))
    for j, parent in enumerate(parents.tolist()):
        if parent >= 0:
            share = 1.0 if most == 0.0 else float(information[j]) / most
            ax.plot(*at[[parent, j]].T, color="0.6", linewidth=0.5 + 3.5 * share, zorder=1)
    for name, (x, y) in zip(names, at.tolist(), strict=True):
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.4"}
        ax.text(x, y, name, ha="center", va="center", bbox=box, zorder=2)
    ax.set_xlim(at[:, 0].min() - 0.5, at[:, 0].max() + 0.5)
    ax.set_ylim(at[:, 1].min() - 0.5, at[:, 1].max() + 0.5)
    ax.set_axis_off()
    return ax
