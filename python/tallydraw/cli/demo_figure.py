"""The picture of the demo: real digits beside drawn ones, and the cost of sampling against the number of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from tallydraw.cli.demo_cost import CELL_BYTES, DRAWN, Curve
from tallydraw.cli.demo_style import duration, nats, size

if TYPE_CHECKING:
    from tallydraw.cli.demo import Result

__all__ = ["write"]

INK, FAINT, RULE = "#1f2328", "#6a737d", "#d0d7de"
BLUE, ORANGE = "#0072b2", "#d55e00"  # of the palette of Okabe and Ito, told apart by every eye
FONT = "DejaVu Sans"  # comes with matplotlib
SIZE = (13.0, 8.6)  # inches
DPI = 150
SIDE, GAP = 8, 2  # pixels of a digit, pixels between digits


def write(
    output: Path,
    real: NDArray[np.uint8],
    results: Sequence[Result],
    inpainted: NDArray[np.uint8],
    curves: Sequence[Curve],
    max_bytes: int,
) -> None:
    """Write one PNG: the strips on the left, the cost on the right."""
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    _strips(figure, real, results, inpainted)
    _cost(figure.add_axes((0.675, 0.09, 0.315, 0.755)), curves, max_bytes)
    figure.savefig(output, format="png", dpi=DPI, metadata={"Software": None})


def _strips(figure: Figure, real: NDArray[np.uint8], results: Sequence[Result], inpainted: NDArray[np.uint8]) -> None:
    left, right, top, bottom = 0.195, 0.595, 0.855, 0.03
    _title(
        figure,
        0.012,
        "Real digits, and digits drawn from each model",
        "Columns are 0 to 9 where a model knows the class. log p: mean over held-out images, in nats.",
    )
    strips: list[tuple[str, str, NDArray[Any], int]] = [("real digits", "one of each class", real, 17)]
    strips += [_strip(result) for result in results if result.entry.levels == 17]
    strips.append(("lower halves drawn", "given the upper, trees by class", inpainted, 17))
    strips += [_strip(result) for result in results if result.entry.levels == 2]
    step = (top - bottom) / len(strips)
    for i, (name, note, images, levels) in enumerate(strips):
        base = top - (i + 1) * step
        axes = figure.add_axes((left, base, right - left, step * 0.9))
        axes.imshow(_row(images), cmap="gray_r", vmin=0, vmax=levels - 1, interpolation="nearest", aspect="equal")
        axes.set_axis_off()
        figure.text(left - 0.006, base + step * 0.60, name, ha="right", va="center", size=10, color=INK, family=FONT)
        figure.text(left - 0.006, base + step * 0.29, note, ha="right", va="center", size=8, color=FAINT, family=FONT)
    # A rule and a word beside each block of strips with the same number of levels.
    blocks = {levels: [i for i, strip in enumerate(strips) if strip[3] == levels] for levels in (17, 2)}
    for levels, rows in blocks.items():
        high, low = top - (rows[0] + 0.12) * step, top - (rows[-1] + 0.98) * step
        figure.add_artist(Line2D([0.024, 0.024], [low, high], color=RULE, lw=1.2))
        figure.text(
            0.016, (high + low) / 2, f"{levels} levels", rotation=90, ha="center", va="center",
            size=9, color=FAINT, family=FONT,
        )  # fmt: skip


def _strip(result: Result) -> tuple[str, str, NDArray[Any], int]:
    return result.entry.name, _note(result), result.drawn, result.entry.levels


def _note(result: Result) -> str:
    parts = [f"α = {result.entry.alpha:g}", f"log p {nats(result.mean_log_prob)}"]
    parts.append(f"{result.accuracy:.0%} right" if result.accuracy is not None else f"{result.novel:.0%} novel")
    return " · ".join(parts)


def _row(images: NDArray[Any]) -> NDArray[np.float64]:
    """Images side by side, with white between them."""
    tiles = images.reshape(len(images), SIDE, SIDE)
    row = np.full((SIDE, len(images) * (SIDE + GAP) - GAP), np.nan)
    for i, tile in enumerate(tiles):
        row[:, i * (SIDE + GAP) : i * (SIDE + GAP) + SIDE] = tile
    return row


def _cost(axes: Any, curves: Sequence[Curve], max_bytes: int) -> None:
    _title(
        axes.figure,
        axes.get_position().x0 - 0.04,
        "What drawing costs",
        f"Time to fit, build and draw {DRAWN:,} images of d pixels, one thread.\n"
        f"The full table stops at {size(max_bytes)}; 64 pixels of 2 levels ask for {size(2**64 * CELL_BYTES)}.",
    )
    for curve in curves:
        color = ORANGE if curve.full else BLUE
        shape = {"ls": "-", "marker": "o"} if curve.levels == 2 else {"ls": "--", "marker": "s"}
        axes.plot(curve.features, curve.seconds, color=color, lw=1.8, ms=4, **shape)
        if curve.full:
            _label(axes, curve, "full table", color, (0, 7), ha="center", va="bottom")
    # Right of their ends: the upper curve's words go up from there, the lower one's down, so they never meet.
    low, high = sorted((curve for curve in curves if not curve.full), key=lambda curve: curve.seconds[-1])
    _label(axes, high, "factorised", BLUE, (8, -4), ha="left", va="bottom")
    _label(axes, low, "factorised", BLUE, (8, 4), ha="left", va="top")

    every = [value for curve in curves for value in curve.seconds]
    axes.set(xscale="log", yscale="log", xlim=(0.9, 180), ylim=(min(every) / 2, max(every) * 4))
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32, 64]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.set_xlabel("d, number of pixels", color=FAINT, size=9, family=FONT)
    axes.tick_params(colors=FAINT, labelsize=9, length=0, labelfontfamily=FONT)
    axes.grid(axis="y", color=RULE, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


def _label(axes: Any, curve: Curve, name: str, color: str, shift: tuple[int, int], *, ha: str, va: str) -> None:
    """Words at the last point of a curve."""
    point = (curve.features[-1], curve.seconds[-1])
    axes.annotate(
        f"{name},\n{curve.levels} levels", point, shift, textcoords="offset points", ha=ha, va=va, size=9, color=color,
        family=FONT, path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip


def _title(figure: Figure, x: float, title: str, note: str) -> None:
    figure.text(x, 0.972, title, size=13, weight="bold", va="top", color=INK, family=FONT)
    figure.text(x, 0.925, note, size=9, va="top", color=FAINT, family=FONT, linespacing=1.35)
