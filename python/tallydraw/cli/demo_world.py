"""The second section of the demo: two worlds so small that every probability can be checked by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import tallydraw as td
from tallydraw.cli.demo_style import new_notes, new_table

__all__ = ["avatars", "ten_rows"]

# Ten rows x1 x2 y ----------------------------------------------------------------------------------------------------

LETTERS, SIGNS = "AB", "€$"
TEN_ROWS = "A€1 A€1 B€1 B$0 B$0 A€0 A$0 B€0 B€1 B$1"


def ten_rows(console: Console) -> None:
    """Print what naive Bayes and the joint table make of ten rows x1 x2 y."""
    rows = TEN_ROWS.split()
    X = np.array([[LETTERS.index(row[0]), SIGNS.index(row[1])] for row in rows], np.uint8)
    y = np.array([int(row[2]) for row in rows])
    x = np.array([[LETTERS.index("A"), SIGNS.index("$")]], np.uint8)

    bayes = td.NaiveBayes(n_categories=2).fit(X, y)
    joint = td.JointTable(n_categories=2).fit(X, y)
    letter, sign = bayes.probabilities_[0], bayes.probabilities_[1]
    prior = np.asarray(bayes.class_prior_)
    given_class = np.exp(bayes.log_joint(x))[0] / prior

    table = new_table(f"\nTen rows x1 x2 y:  {TEN_ROWS}")
    for heading in ("quantity", "y = 1", "y = 0"):
        table.add_column(heading, justify="left" if heading == "quantity" else "right")
    _add(table, "P(y)", prior[::-1])
    _add(table, "P(A | y)", letter[::-1, LETTERS.index("A")])
    _add(table, "P($ | y)", sign[::-1, SIGNS.index("$")])
    _add(table, "P([A, $] | y), the product of the two", given_class[::-1])
    _add(table, "P(y | [A, $]) by naive Bayes", bayes.predict_proba(x)[0, ::-1])
    _add(table, "P(y | [A, $]) by the joint table: one such row", joint.predict_proba(x)[0, ::-1])
    console.print(table)


def _add(table: Table, label: str, values: Iterable[float]) -> None:
    table.add_row(label, *(f"{value:.2f}" for value in values))


# 4,032 avatars -------------------------------------------------------------------------------------------------------

# The stated truth: every feature independent of the others, probabilities in per cent.
AVATAR: dict[str, dict[str, int]] = {
    "hair style": {"short": 30, "long": 22, "curly": 16, "wavy": 12, "bun": 9, "braids": 7, "shaved": 4},
    "hair colour": {"brown": 34, "black": 26, "blond": 16, "grey": 12, "red": 8, "blue": 4},
    "glasses": {"no glasses": 60, "glasses": 25, "sunglasses": 15},
    "clothes": {"hoodie": 40, "shirt": 30, "jacket": 20, "overall": 10},
    "colour of the clothes": {
        "blue": 26, "black": 20, "white": 16, "grey": 12, "red": 10, "green": 8, "yellow": 5, "pink": 3,
    },
}  # fmt: skip
OBSERVED = 50
REPEATS = 100
DRAWN = 10_000

Matrix = NDArray[Any]


def avatars(console: Console, seed: int) -> None:
    """Print three estimates of the 4,032 probabilities from 50 observations beside the truth."""
    sizes = [len(values) for values in AVATAR.values()]
    n_combinations = int(np.prod(sizes))
    truth = td.NaiveBayes.from_probabilities([np.array(list(values.values())) / 100 for values in AVATAR.values()])
    every = np.indices(sizes).reshape(len(sizes), -1).T
    p = np.exp(truth.log_prob(every))

    # One stream of draws, cut into samples of 50: the first is shown, all of them are averaged over.
    samples = truth.sample(OBSERVED * REPEATS, rng=seed).reshape(REPEATS, OBSERVED, -1)
    shown = samples[0]
    models = _fit(shown, sizes)
    estimates = {name: np.exp(model.log_prob(every)) for name, model in models.items()}
    seen = td.count_categories(np.ravel_multi_index(tuple(shown.T), sizes), n_categories=n_combinations)

    table = new_table(f"\n{n_combinations:,} avatars ({' · '.join(map(str, sizes))}), {OBSERVED} observed")
    table.add_column("combination")
    for heading in ("seen", "truth", *estimates):
        table.add_column(heading, justify="right")
    for row in _chosen(seen, p):
        cells = [f"{q[row]:.2g}" for q in (p, *estimates.values())]
        table.add_row(_describe(every[row]), f"{seen[row]}×", *cells)
    table.add_section()
    divergence, variation = _distances(samples, sizes, every, p)
    table.add_row("KL(truth‖estimate), nats", "", "0", *(_number(value) for value in divergence))
    table.add_row("total variation", "", "0", *(_number(value) for value in variation))
    drawn = [model.sample(DRAWN, rng=seed) for model in (truth, *models.values())]
    shares = [td.novelty(sample, shown) for sample in drawn]
    table.add_row("drawn, never observed", "", *(f"{share:.0%}" for share in shares))
    console.print(table)

    notes = new_notes()
    most, total = int(seen.max()), OBSERVED + n_combinations
    if most > 1:
        notes.add_row(
            f"{most}×",
            f"{most}/{OBSERVED} = {most / OBSERVED:g}; with a pseudocount "
            f"({most}+1)/({OBSERVED}+{n_combinations}) = {(most + 1) / total:.2g}",
        )
    else:
        notes.add_row("1×", f"1/{OBSERVED} = {1 / OBSERVED:g}; nothing was seen twice with this seed")
    notes.add_row("0×", f"every unseen combination alike: 0, or with a pseudocount 1/{total} = {1 / total:.2g}")
    repeated = sum(len(td.count_rows(sample)[1]) < OBSERVED for sample in samples)
    notes.add_row("+1", "a pseudocount of 1: each combination (joint), each category (factorised)")
    notes.add_row(
        "KL", f"and total variation: means over {REPEATS} such samples; ∞ where an estimate rules out the possible"
    )
    notes.add_row("drawn", f"share of {DRAWN:,} draws that are none of the {OBSERVED} observations")
    notes.add_row("seen", f"{repeated} of {REPEATS} such samples have a combination seen twice or more")
    console.print(notes)


def _fit(X: Matrix, sizes: list[int]) -> dict[str, Any]:
    return {
        "joint\nMLE": td.JointTable(n_categories=sizes).fit(X),
        "joint\n+1": td.JointTable(n_categories=sizes, alpha=1).fit(X),
        "factorised\nMLE": td.NaiveBayes(n_categories=sizes).fit(X),
        "factorised\n+1": td.NaiveBayes(n_categories=sizes, alpha=1).fit(X),
    }


def _chosen(seen: Matrix, p: Matrix) -> list[int]:
    """The most often seen, the likeliest seen once, and of the unseen ones the likeliest and the least likely."""
    once, never = np.flatnonzero(seen == 1), np.flatnonzero(seen == 0)
    rows = [int(seen.argmax())] if seen.max() > 1 else []
    rows += [int(once[p[once].argmax()])] if once.size else []
    return [*rows, int(never[p[never].argmax()]), int(never[p[never].argmin()])]


def _describe(codes: Matrix) -> str:
    style, hair, glasses, clothes, colour = (
        list(values)[code] for values, code in zip(AVATAR.values(), codes, strict=True)
    )
    return f"{style} {hair} hair,\n{glasses}, {colour} {clothes}"


def _distances(samples: Matrix, sizes: list[int], every: Matrix, p: Matrix) -> tuple[Matrix, Matrix]:
    """Mean KL(truth‖estimate) and mean total variation of each estimate, over the samples."""
    divergence, variation = [], []
    for sample in samples:
        estimates = [np.exp(model.log_prob(every)) for model in _fit(sample, sizes).values()]
        divergence.append([float(td.kl_divergence(p, q)) for q in estimates])
        variation.append([0.5 * np.abs(p - q).sum() for q in estimates])
    return np.mean(divergence, axis=0), np.mean(variation, axis=0)


def _number(value: float) -> str:
    return "∞" if np.isinf(value) else f"{value:.2f}"
