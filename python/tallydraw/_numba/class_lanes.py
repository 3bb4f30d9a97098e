"""Numbers of classes in lanes: the twin of class_lanes.hpp, which says how they lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import log
from tallydraw._numba.parallel import inline
from tallydraw._structure import Structure


def _part_width(rest):
    """Width of the part that begins where `rest` classes are left."""
    return 8 if rest > 4 else 4 if rest > 2 else rest


part_width = inline(_part_width)


def lay_out_logs(
    structure: Structure,
    probabilities: NDArray[np.float64],
    lane_offsets: NDArray[np.int64],
    lanes: NDArray[np.float64],
    threads: int,
) -> None:
    s = structure
    logs = np.empty(len(probabilities))
    log(probabilities, logs)
    lanes[:] = 0.0
    for j in range(s.n_features):
        table = logs[s.offsets[j] : s.offsets[j + 1]].reshape(s.n_classes, -1)
        for c, part in _parts(s, j, lane_offsets, lanes):
            part[:-1, : len(table) - c] = table[c : c + 8].T


def collect_lanes(
    structure: Structure, lanes: NDArray[np.float64], lane_offsets: NDArray[np.int64], tables: NDArray[np.float64]
) -> None:
    s = structure
    for j in range(s.n_features):
        table = tables[s.offsets[j] : s.offsets[j + 1]].reshape(s.n_classes, -1)
        for c, part in _parts(s, j, lane_offsets, lanes):
            table[c : c + 8] = part[:-1, : len(table) - c].T


def _parts(
    s: Structure, j: int, lane_offsets: NDArray[np.int64], lanes: NDArray[np.float64]
) -> list[tuple[int, NDArray[np.float64]]]:
    """First class and rows of lanes of every part of feature j."""
    rows = int(s.n_contexts[j] * s.n_categories[j]) + 1
    parts, at = [], int(lane_offsets[j])
    for c in range(0, s.n_classes, 8):
        width = _part_width(s.n_classes - c)
        parts.append((c, lanes[at : at + rows * width].reshape(rows, width)))
        at += rows * width
    return parts
