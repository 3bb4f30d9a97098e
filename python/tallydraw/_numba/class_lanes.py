"""Numbers of classes in lanes: the twin of class_lanes.hpp, which says how they lie."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import log
from tallydraw._numba.parallel import inline, kernel, parallel_blocks, worth
from tallydraw._structure import WIDEST_PART, Structure, lane_parts, part_width

__all__ = ["collect_lanes", "lay_out_logs", "part", "part_width", "parts_at_once"]

_GRAIN = 1 << 15  # cells

_part_width = inline(part_width)


@functools.lru_cache(maxsize=64)
def parts_at_once(n_classes: int) -> tuple[tuple[int, int, int], ...]:
    """(class, width, rest): parts of this width that begin with this class, and of width `rest` behind them, or 0."""
    parts = lane_parts(n_classes)
    widths = [*(part.width for part in parts), 0]
    return tuple((parts[i].first, widths[i], widths[i + 1]) for i in range(0, len(parts), 2))


@inline
def part(c, n_classes, cells):
    """Of the part that begins with class c: its lanes and classes; how far its lanes, and its tables, are in."""
    rest = n_classes - c
    return _part_width(rest), min(WIDEST_PART, rest), c * (cells + 1), c * cells


@kernel
def _lay_out(logs, offsets, lane_offsets, n_classes, lanes):
    """Flat logs of features as class lanes; zeros in the slot and in lanes of no class."""
    for j in range(offsets.size - 1):
        cells = (offsets[j + 1] - offsets[j]) // n_classes
        for c0 in range(0, n_classes, WIDEST_PART):
            width, n, at, table = part(c0, n_classes, cells)
            at, table = lane_offsets[j] + at, offsets[j] - offsets[0] + table
            for z in range(cells):
                for c in range(width):
                    lanes[at + z * width + c] = logs[table + c * cells + z] if c < n else 0.0
            lanes[at + cells * width : at + (cells + 1) * width] = 0.0


@kernel
def _collect(lanes, lane_offsets, offsets, n_classes, tables):
    for j in range(offsets.size - 1):
        cells = (offsets[j + 1] - offsets[j]) // n_classes
        for c0 in range(0, n_classes, WIDEST_PART):
            width, n, at, table = part(c0, n_classes, cells)
            at, table = lane_offsets[j] + at, offsets[j] + table
            for c in range(n):
                for z in range(cells):
                    tables[table + c * cells + z] = lanes[at + z * width + c]


def lay_out_logs(
    structure: Structure,
    probabilities: NDArray[np.float64],
    lane_offsets: NDArray[np.int64],
    lanes: NDArray[np.float64],
    threads: int,
) -> None:
    s = structure

    def lay_out(j0: int, j1: int, _: int) -> None:
        part = probabilities[s.offsets[j0] : s.offsets[j1]]
        logs = np.empty(len(part))
        log(part, logs)
        _lay_out(logs, s.offsets[j0 : j1 + 1], lane_offsets[j0:j1], s.n_classes, lanes)

    grain = s.n_features * _GRAIN // (lanes.size + 1) + 1
    parallel_blocks(s.n_features, grain, worth(threads, lanes.size), lay_out)


def collect_lanes(
    structure: Structure, lanes: NDArray[np.float64], lane_offsets: NDArray[np.int64], tables: NDArray[np.float64]
) -> None:
    _collect(lanes, lane_offsets, structure.offsets, structure.n_classes, tables)
