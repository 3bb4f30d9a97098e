"""``tallydraw demo``: real handwritten digits counted, scored, classified and drawn by every model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tallydraw as td
from tallydraw.cli import demo_figure, demo_world, info
from tallydraw.cli.demo_cost import CELL_BYTES, Curve, cost_curves, seconds
from tallydraw.cli.demo_cost import DRAWN as COST_DRAWN
from tallydraw.cli.demo_style import count, duration, nats, new_console, new_notes, new_table, size

__all__ = ["run"]

HELD_OUT = 450
THRESHOLD = 8  # of 16: a pixel of the binarised images is ink from here on
ALPHA = 0.1
DRAWN = 10_000  # images in which novelty is looked for


@dataclass(frozen=True)
class Entry:
    """A model of the table: what it is called, how it is made, what it sees."""

    name: str
    kind: Callable[..., Any]
    levels: int
    alpha: float
    has_class: bool = False
    by_chance: bool = False  # where the fit begins

    def fit(self, X: NDArray[np.uint8], y: NDArray[np.int64]) -> Any:
        model = self.kind(alpha=self.alpha, n_categories=self.levels)
        return model.fit(X, y if self.has_class else None, **({"rng": 0} if self.by_chance else {}))


def tree_per_class(**params: Any) -> td.ChowLiuTree:
    return td.ChowLiuTree(shared=False, **params)


def ten_trees(**params: Any) -> td.Mixture:
    return td.Mixture(td.ChowLiuTree(shared=False, **params), 10, tol=1e-3)


ENTRIES = [
    Entry("product of categoricals", td.NaiveBayes, 17, ALPHA),
    Entry("naive Bayes", td.NaiveBayes, 17, 0.0, has_class=True),
    Entry("naive Bayes", td.NaiveBayes, 17, ALPHA, has_class=True),
    Entry("Markov chain", td.MarkovChain, 17, ALPHA),
    Entry("Markov chain by class", td.MarkovChain, 17, ALPHA, has_class=True),
    Entry("Chow-Liu tree", td.ChowLiuTree, 17, ALPHA),
    Entry("Chow-Liu tree by class", tree_per_class, 17, ALPHA, has_class=True),
    Entry("product of Bernoullis", td.NaiveBayes, 2, ALPHA),
    Entry("Chow-Liu tree", td.ChowLiuTree, 2, ALPHA),
    Entry("mixture of ten trees", ten_trees, 2, ALPHA, by_chance=True),
    Entry("joint table", td.JointTable, 2, 0.0),
    Entry("joint table", td.JointTable, 2, 1.0),
]


@dataclass(frozen=True)
class Digits:
    """One split of the 8×8 digits, at one number of levels."""

    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    train_class: NDArray[np.int64]
    test_class: NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """What one model did."""

    entry: Entry
    n_parameters: int
    mean_log_prob: float
    impossible: int  # held-out images of probability zero
    accuracy: float | None
    novel: float
    fit: float
    score: float
    draw: float
    drawn: NDArray[np.uint8]  # one image a class where there is a class


def run(output: Path, seed: int, quick: bool) -> None:
    """Print both sections and write the picture."""
    console = new_console()
    rows = 100_000 if quick else 1_000_000
    max_bytes = 2**24 if quick else 2**28
    budget = 0.1 if quick else 0.6  # seconds of repeated runs for each time in the table
    digits = {levels: _digits(levels, seed) for levels in (17, 2)}
    with console.status("fitting, scoring, drawing"):
        results = [_measure(entry, digits[entry.levels], rows, seed, budget) for entry in ENTRIES]
    _print_results(console, results, digits[17], rows)
    with console.status("measuring the cost of sampling"):
        curves = cost_curves(digits[17].train, digits[2].train, max_bytes, seed, budget / 4)
    _print_cost(console, curves, max_bytes)
    console.print(f"\nAll of it: {info.kernels_in_use()}.", style="bold")
    demo_figure.write(output, _real(digits[17]), results, _inpainted(digits[17], seed), curves, max_bytes)
    console.print(f"The picture: {output}\n")
    demo_world.ten_rows(console)
    demo_world.avatars(console, seed)


def _digits(levels: int, seed: int) -> Digits:
    X, y = load_digits(return_X_y=True)
    pixels = X.astype(np.uint8)  # whole numbers from 0 to 16 that scikit-learn stores as floats
    if levels == 2:
        pixels = (pixels >= THRESHOLD).astype(np.uint8)
    return Digits(*train_test_split(pixels, y, test_size=HELD_OUT, stratify=y, random_state=seed))


def _measure(entry: Entry, digits: Digits, rows: int, seed: int, budget: float) -> Result:
    model = entry.fit(digits.train, digits.train_class)
    log_prob = model.log_prob(digits.test)
    accuracy = float(np.mean(model.predict(digits.test) == digits.test_class)) if entry.has_class else None
    novel = td.novelty(model.sample(DRAWN, rng=seed), digits.train)
    drawn = model.sample(10, y=np.arange(10), rng=seed) if entry.has_class else model.sample(10, rng=seed)

    # The calls above were the warm-up. np.resize repeats the training images until there are enough.
    X, y = np.resize(digits.train, (rows, 64)), np.resize(digits.train_class, rows)
    return Result(
        entry=entry,
        n_parameters=model.n_parameters,
        mean_log_prob=float(log_prob.mean()),
        impossible=int(np.isneginf(log_prob).sum()),
        accuracy=accuracy,
        novel=novel,
        fit=seconds(lambda: entry.fit(X, y), budget),
        score=seconds(lambda: model.log_prob(X), budget),
        draw=seconds(lambda: model.sample(rows, rng=seed), budget),
        drawn=drawn,
    )


def _real(digits: Digits) -> NDArray[np.uint8]:
    """The first training image of each class."""
    return np.stack([digits.train[np.flatnonzero(digits.train_class == k)[0]] for k in range(10)])


def _inpainted(digits: Digits, seed: int) -> NDArray[np.uint8]:
    """The first held-out image of each class, its lower half drawn given the upper one, the class unknown."""
    model = tree_per_class(alpha=ALPHA, n_categories=17).fit(digits.train, digits.train_class)
    seen = np.stack([digits.test[np.flatnonzero(digits.test_class == k)[0]] for k in range(10)]).astype(np.int8)
    seen[:, 32:] = -1
    drawn: NDArray[np.uint8] = model.complete(seen, how="sample", rng=seed)
    return drawn


def _print_results(console: Console, results: list[Result], digits: Digits, rows: int) -> None:
    table = new_table(f"Handwritten digits, 8×8: {len(digits.train):,} to learn from, {len(digits.test)} held out")
    table.add_column("model")
    for heading in ("α", "params", "log p", "right", "novel", "fit", "score", "draw"):
        table.add_column(heading, justify="right")
    blocks = {17: "17 grey levels, as they are", 2: f"2 levels: pixels from {THRESHOLD} of 16 on are ink"}
    for levels, name in blocks.items():
        table.add_section()
        table.add_row(f"[dim]{name}[/dim]")
        for result in results:
            entry = result.entry
            if entry.levels == levels:
                table.add_row(
                    entry.name,
                    f"{entry.alpha:g}",
                    count(result.n_parameters),
                    nats(result.mean_log_prob),
                    "" if result.accuracy is None else f"{result.accuracy:.1%}",
                    f"{result.novel:.0%}",
                    *(f"{value:.3f}" for value in (result.fit, result.score, result.draw)),
                )
    console.print(table)
    notes = new_notes()
    notes.add_row("log p", "an image, in nats, mean of the held-out images; compare within a block")
    notes.add_row("right", "held-out images given their class")
    notes.add_row("novel", f"share of {DRAWN:,} drawn images that equal no training image")
    notes.add_row(
        "fit, score, draw",
        f"seconds for {rows:,} images (to fit and score: the training images, repeated); "
        "best of several runs, after a warm-up",
    )
    for result in results:
        if result.impossible:
            entry = result.entry
            why = (
                "no training image equals them"
                if entry.kind is td.JointTable
                else "whatever the class, some pixel has a grey level not counted there"
            )
            notes.add_row(
                "−∞",
                f"{entry.name}, α = {entry.alpha:g}: {result.impossible} of {len(digits.test)} held-out images have "
                f"probability 0, as {why}",
            )
    console.print(notes)


def _print_cost(console: Console, curves: list[Curve], max_bytes: int) -> None:
    table = new_table(f"\nTime to fit, build and draw {COST_DRAWN:,} images of d pixels, one thread")
    some, d = curves[1].features[-3], curves[1].features[-1]
    for heading in (
        "levels",
        f"full joint table,\nup to {size(max_bytes)}",
        f"which at d = {d}\nasks for",
        f"factorised,\nd = {some}",
        f"factorised,\nd = {d}",
    ):
        table.add_column(heading, justify="right")
    for full, factorised in zip(curves[::2], curves[1::2], strict=True):
        table.add_row(
            str(full.levels),
            f"{duration(full.seconds[-1])} at d = {full.features[-1]}",
            size(full.levels**d * CELL_BYTES),
            duration(factorised.seconds[-3]),
            duration(factorised.seconds[-1]),
        )
    console.print(table)
