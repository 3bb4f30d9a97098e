"""Philox4x32-10: the published answers, an independent implementation, and one word of a draw at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import randomgen
import reference
import tallydraw as td
from places import PLACES, at

KNOWN = [
    [int(word, 16) for word in line.split()]
    for line in (Path(__file__).parent / "kat_philox4x32_10.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_known_answers(place):
    with at(place):
        for words in KNOWN:
            counter, (k0, k1), answer = words[:4], words[4:6], words[6:]
            got = td.backend.kernels().philox(np.array([counter], np.uint32), k0 | k1 << 32)
            assert got.dtype == np.uint32
            assert got.tolist() == [answer]
            assert list(reference.philox(tuple(counter), k0 | k1 << 32)) == answer


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_agrees_with_randomgen(place):
    rng = np.random.default_rng(3)
    for _ in range(20):
        key, counter = int(rng.integers(0, 2**64, dtype=np.uint64)), [int(w) for w in rng.integers(1, 2**32 - 9, 4)]
        first = sum(w << 32 * i for i, w in enumerate(counter))
        # The counter is advanced before its first block.
        theirs = randomgen.Philox(key=key, counter=first - 1, number=4, width=32).random_raw(4 * 5)
        ours = np.array([[counter[0] + i, *counter[1:]] for i in range(5)], np.uint32)
        with at(place):
            words = td.backend.kernels().philox(ours, key)
        assert words.reshape(-1).tolist() == theirs.tolist()


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_every_word_reaches_its_draw(place):
    """Levels on a grid of 2**16 show the upper half of each word, in every order in which blocks are filled."""
    grid = np.ones(2**16, np.int64)
    key = td._check.key(5)
    with at(place):
        flat = td.sample_categories(grid, 1001, rng=5, start=2**34 + 3)
        cells = {n: td.sample_features([grid] * 9, n, rng=5, start=2**32 - 2) for n in (1, 3, 40)}
    assert flat.tolist() == [reference.flat_uniform(key, 2**34 + 3 + i, 1) >> 48 for i in range(1001)]
    for n, rows in cells.items():
        expected = [[reference.uniform(key, 2**32 - 2 + i, j, 0) >> 48 for j in range(9)] for i in range(n)]
        assert rows.tolist() == expected
