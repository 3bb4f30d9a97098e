"""Mixtures of trees on binary density-estimation sets: what they reach, and how long it takes.

    TALLYDRAW_DATA=<directory> python benchmarks/density.py [set …] > benchmarks/density.md

Each set is three files, ``<set>.train.csv.gz``, ``.valid.csv.gz`` and ``.test.csv.gz``, of 0 and 1 without a header
(Lowd & Davis, 2010; Van Haaren & Davis, 2012). The number of components, alpha and the penalty are chosen on the
validation rows, which also stop EM; then several runs from other beginnings are averaged, which is a mixture again.
Test rows are read once, at the end.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from pathlib import Path

import numpy as np
import tallydraw as td

SETS = ("nltcs", "plants", "dna")
COMPONENTS = (5, 10, 20)
ALPHAS = (0.1, 0.3, 1.0)
RUNS = 4

Choice = tuple[int, float, str | None]  # components, alpha, penalty


def load(name: str, split: str) -> np.ndarray:
    with gzip.open(Path(os.environ["TALLYDRAW_DATA"]) / f"{name}.{split}.csv.gz") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.uint8)


def fit(train: np.ndarray, valid: np.ndarray, choice: Choice) -> tuple[td.Mixture, td.Mixture]:
    """The best of several runs, and their average: one mixture of the components of all."""
    k, alpha, penalty = choice
    runs = []
    for seed in range(RUNS):
        tree = td.ChowLiuTree(alpha=alpha, n_categories=2, shared=False, penalty=penalty)
        runs.append(td.Mixture(tree, k, tol=1e-4, patience=5).fit(train, validation=valid, rng=seed))
    stacks = [tables for run in runs for tables in run.probabilities_]
    weights = np.concatenate([run.weights_ for run in runs]) / RUNS
    together = td.Mixture.from_probabilities(stacks, class_prior=weights, model=td.ChowLiuTree(shared=False))
    return max(runs, key=lambda run: run.validation_.max()), together


class Search:
    """Choices and how likely they make the validation rows, averaged over runs."""

    def __init__(self, train: np.ndarray, valid: np.ndarray) -> None:
        self.train, self.valid = train, valid
        self.found: dict[Choice, tuple[td.Mixture, td.Mixture]] = {}

    def reached(self, choice: Choice) -> float:
        if choice not in self.found:
            self.found[choice] = fit(self.train, self.valid, choice)
        return float(self.found[choice][1].log_prob(self.valid).mean())

    def best(self) -> Choice:
        """Components first, as long as they help; then alpha, then whether arcs must pay for their parameters."""
        last = -np.inf
        for k in COMPONENTS:
            now = self.reached((k, 0.3, None))
            if now < last:
                break
            last = now
        k = max(self.found, key=self.reached)[0]
        alpha = max(ALPHAS, key=lambda a: self.reached((k, a, None)))
        return max(((k, alpha, None), (k, alpha, "bic")), key=self.reached)


def main(names: list[str]) -> None:
    print(
        "| set | components | alpha | penalty | best run: validation | test | average of runs: validation | test | s |"
    )
    print("|---|---:|---:|---|---:|---:|---:|---:|---:|")
    for name in names:
        train, valid, test = (load(name, split) for split in ("train", "valid", "test"))
        begin = time.perf_counter()
        search = Search(train, valid)
        choice = search.best()
        seconds = time.perf_counter() - begin
        figures = [f"{m.log_prob(rows).mean():.4f}" for m in search.found[choice] for rows in (valid, test)]
        k, alpha, penalty = choice
        print(f"| {name} | {k} | {alpha:g} | {penalty or ''} | {' | '.join(figures)} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SETS))
