"""Real data: the published figures of each set come out, to the digits given.

The files are read where they are, in `../shared/data` or the folder that TALLYDRAW_DATA names; a test whose file is
absent skips, saying so.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tallydraw as td

FOLDER = Path(os.environ.get("TALLYDRAW_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


def path_of(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not here; set TALLYDRAW_DATA to the folder that has {name}")
    return path


@cache
def table(name: str) -> tuple[list[str], np.ndarray]:
    """Header and cells, as strings."""
    with gzip.open(path_of(f"{name}.csv.gz"), "rt", newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array(rows)


def coded(cells: np.ndarray) -> np.ndarray:
    """Every column's strings as codes in sorted order."""
    return np.stack([np.unique(column, return_inverse=True)[1].reshape(-1) for column in cells.T], axis=1)


def features_and_class(name: str, label: str = "class") -> tuple[np.ndarray, np.ndarray]:
    header, cells = table(name)
    at = header.index(label)
    return np.delete(cells, at, axis=1), cells[:, at]


def total(model: td.Model, X: np.ndarray, y: np.ndarray) -> float:
    """Sum of log p(x, y)."""
    assert model.classes_ is not None
    return math.fsum(model.log_joint(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)])


def test_car(backend: str) -> None:
    cells, y = features_and_class("car")
    X = coded(cells)
    assert X.shape == (1728, 6)
    model = td.NaiveBayes().fit(X, y)
    assert model.n_parameters == 63
    assert total(model, X, y) == pytest.approx(-13503.6883427047687, abs=5e-10)
    buying = X[:, :1]
    assert total(td.NaiveBayes().fit(buying, y), buying, y) == pytest.approx(-3724.18038821656273, abs=5e-11)


@pytest.mark.parametrize(
    ("alpha", "log_prob", "accuracy"), [(0, -159702.532215, 0.997169), (1, -159748.426137, 0.956672)]
)
def test_mushroom(alpha: int, log_prob: float, accuracy: float, backend: str) -> None:
    cells, y = features_and_class("mushroom")
    assert (cells == "?").sum() == 2480
    X = coded(cells)
    model = td.NaiveBayes(alpha=alpha).fit(X, y)
    assert round(total(model, X, y), 6) == log_prob
    assert round((model.predict(X) == y).mean(), 6) == accuracy


@pytest.mark.parametrize(
    ("alpha", "log_prob", "accuracy"), [(0, -534828.312128, 0.949288), (1, -536724.070017, 0.938968)]
)
def test_optdigits(alpha: int, log_prob: float, accuracy: float, backend: str) -> None:
    cells, y = features_and_class("optdigits")
    X = coded(cells.astype(np.int64))  # each pixel's own values are its categories
    assert X.shape == (5620, 64)
    model = td.NaiveBayes(alpha=alpha).fit(X, y.astype(np.int64))
    assert round(total(model, X, y.astype(np.int64)), 6) == log_prob
    assert round((model.predict(X) == y.astype(np.int64)).mean(), 6) == accuracy


@pytest.mark.parametrize("levels", [2, 256])
def test_mnist(levels: int, backend: str) -> None:
    with np.load(path_of("mnist.npz")) as file:
        data = {name: file[name] for name in file.files}
    train, test = (data[name].reshape(-1, 784) for name in ("x_train", "x_test"))
    if levels == 2:
        train, test = train >= 128, test >= 128
    model = td.NaiveBayes(alpha=1, n_categories=levels).fit(train, data["y_train"])
    accuracy = (model.predict(test) == data["y_test"]).mean()
    assert round(100 * accuracy, 2) == {2: 84.27, 256: 83.63}[levels]


def binary_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    train, test = (
        np.loadtxt(path_of(f"{name}.{part}.csv.gz"), delimiter=",", dtype=np.uint8) for part in ("train", "test")
    )
    return train, test


@pytest.mark.parametrize(("name", "mean"), [("nltcs", -9.2336), ("plants", -31.2662), ("dna", -100.386)])
def test_the_independent_product(name: str, mean: float, backend: str) -> None:
    train, test = binary_set(name)
    model = td.NaiveBayes(alpha=1, n_categories=2).fit(train)
    digits = len(str(mean).split(".")[1])
    assert round(model.log_prob(test).mean(), digits) == mean


@pytest.mark.parametrize(("name", "mean"), [("nltcs", -6.759044665), ("plants", -16.524015044), ("dna", -87.7347)])
def test_the_chow_liu_tree(name: str, mean: float, backend: str) -> None:
    train, test = binary_set(name)
    alpha = np.ones(train.shape[1])
    alpha[0] = 2.0  # the root
    model = td.ChowLiuTree(alpha=alpha, n_categories=2).fit(train)
    found = model.log_prob(test).mean()
    digits = len(str(mean).split(".")[1])
    assert mean in (
        round(found, digits),
        math.trunc(found * 10**digits) / 10**digits,
    )  # that of dna is cut, not rounded


def test_the_tree_augmented_classifier_of_car(backend: str) -> None:
    cells, y = features_and_class("car")
    X = coded(cells)
    model = td.ChowLiuTree(alpha=0.01, penalty="aic").fit(X, y)
    assert (model.parents_ >= 0).sum() == 3
    assert model.n_parameters == 131
    assert round(total(model, X, y), 2) == -13280.39
    shared = td.mutual_information(model.pair_counts_)
    assert round(shared[0, 1], 8) == 0.07199921  # of buying and maint


def test_the_tree_of_all_columns_of_vote_as_a_classifier(backend: str) -> None:
    header, cells = table("vote")
    X, label = coded(cells), header.index("Class")
    model = td.ChowLiuTree().fit(X)
    scores = []
    for party in range(2):
        guess = X.copy()
        guess[:, label] = party
        scores.append(model.log_prob(guess))
    assert round((np.argmax(scores, axis=0) == X[:, label]).mean(), 6) == 0.956322


def test_names(backend: str) -> None:
    names = path_of("names.txt").read_text(encoding="ascii").split()
    assert len(names) == 32_033
    # One boundary symbol, 0, before and after each name; letters are 1 … 26.
    words = [np.frombuffer(f"`{name}`".encode("ascii"), np.uint8) - ord("`") for name in names]
    model = td.MarkovChain(homogeneous=True, n_categories=27).fit(words)
    counts = model.counts_[1]
    assert counts.sum() == 228_146
    code = {letter: i for i, letter in enumerate("·abcdefghijklmnopqrstuvwxyz")}
    for bigram, n in {"n·": 6763, "a·": 6640, "an": 5438, "·a": 4410}.items():
        assert counts[code[bigram[0]], code[bigram[1]]] == n
    assert round(-math.fsum(model.log_prob(words)) / counts.sum(), 10) == 2.4540144892
    assert counts.tolist() == td.count_transitions(words).tolist()


def test_rain(backend: str) -> None:
    _, cells = table("rain")
    states = ["0", "1-5", "6+"]
    days = np.array([states.index(value) for value in cells[:, -1]])
    assert len(days) == 1096
    model = td.MarkovChain(homogeneous=True).fit([days])
    assert model.counts_[1].tolist() == [[362, 126, 60], [136, 90, 68], [50, 79, 124]]
    assert round(model.log_prob([days])[0], 3) == -1040.419
    assert round(td.log_prob_paths([days], model.probabilities_[1])[0], 3) == -1040.419
