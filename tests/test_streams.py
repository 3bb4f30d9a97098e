"""Streams: what a seed means, for every kind of rng, across versions, processes and forks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tallydraw as td
from places import PLACES, at
from tallydraw import _check

# Golden hashes of version 1: whoever changes one changes what every user's seed means, and STREAM_VERSION with it.
GOLDEN = {
    "categories 2": "f7307ea852e898d7",
    "categories 16": "4cdc79ac65977171",
    "categories 256": "83d1d96d6ca89100",
    "categories 100000": "c2f6ee1b4cfc4f8b",
    "features": "bee537b3d213bb8a",
    "features by class": "17f8cc8972f27c81",
    "chain": "f1a2aebeab4a4a46",
    "tree": "eac881fdc058450e",
    "paths": "0dfb33518d22d456",
    "paths of order 2": "06d730f4dbcc6f4b",
    "matrix": "944d67f75b2b4579",
}

_W = [(7 * i * i + 3 * i) % 101 + 1 for i in range(100_000)]
_C = np.array(_W)

STREAMS = {
    "categories 2": lambda: td.sample_categories([1, 2], 10_000, rng=1),
    "categories 16": lambda: td.sample_categories(_C[:16] / 3, 10_000, rng=2, start=5),
    "categories 256": lambda: td.sample_categories(_C[:256], 10_000, rng=3),
    "categories 100000": lambda: td.sample_categories(_C, 10_000, rng=4, start=2**40 + 1),
    "features": lambda: td.sample_features([_C[i : i + 2 + i % 30] for i in range(70)], 200, rng=5),
    "features by class": lambda: td.sample_features(
        td.Tables.from_arrays([_C[i : i + 30].reshape(3, 10) for i in range(9)], n_classes=3),
        999, y=np.arange(999) % 3, rng=6, start=2**33,
    ),
    "chain": lambda: td.sample_features(
        td.Tables.from_arrays([_C[:20], *(_C[i : i + 400].reshape(20, 20) for i in range(8))], parents=range(-1, 8)),
        500, rng=7,
    ),
    "tree": lambda: td.sample_features(
        td.Tables.from_arrays([_C[:9].reshape(3, 3), _C[9:18].reshape(3, 3), _C[:3]], parents=[2, 0, -1]), 500, rng=8
    ),
    "paths": lambda: td.sample_paths(_C[:729].reshape(27, 27), 90, 70, rng=9, start=2**32 - 9),
    "paths of order 2": lambda: td.sample_paths(
        _C[:64].reshape(4, 4, 4), 90, 70, initial_weights=_C[:16].reshape(4, 4), rng=10
    ),
    "matrix": lambda: td.Sampler(_C[:300].reshape(10, 30)).sample(500, rng=11),
}  # fmt: skip


def digest(array):
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(str(array.shape).encode() + little.dtype.str.encode() + little.tobytes()).hexdigest()[:16]


def test_version():
    assert td.STREAM_VERSION == 1


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("name", STREAMS)
def test_golden_hashes(name, place):
    with at(place):
        assert digest(STREAMS[name]()) == GOLDEN[name]


# Every kind of rng --------------------------------------------------------------------------------------------------


def draws(rng, n=40):
    return td.sample_categories([1] * 50, n, rng=rng).tolist()


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1, 2**100, np.int64(5), np.uint8(9), [1, 2, 3]])
def test_seeds(seed, backend):
    assert draws(seed) == draws(seed)
    assert draws(seed) == draws(np.random.SeedSequence(seed))
    assert _check.key(seed) == int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    assert draws(seed) != draws(77)


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_generators(bits, backend):
    a, b = (int(word) for word in bits(5).random_raw(2))
    assert _check.key(bits(5)) == (a << 32 ^ b) % 2**64
    assert draws(bits(5)) == draws(np.random.Generator(bits(5)))
    generator = np.random.Generator(bits(5))
    first, second = draws(generator), draws(generator)
    assert first == draws(bits(5))
    assert first != second
    ahead = bits(5)
    ahead.random_raw(2)
    assert second == draws(ahead)  # each call takes two words, whatever it draws
    generator, ahead = np.random.Generator(bits(5)), np.random.Generator(bits(5))
    draws(generator, 1)
    draws(ahead, 10_000)
    assert generator.random() == ahead.random()


def test_random_state(backend):
    state = np.random.RandomState(3)
    first, second = draws(state), draws(state)
    assert first == draws(np.random.RandomState(3))
    assert first == draws(np.random.RandomState(3)._bit_generator)
    assert first != second


def test_none_is_fresh_entropy(backend):
    assert draws(None) != draws(None)
    s = td.Sampler([1] * 2**16)
    assert len({int(s.sample()) for _ in range(20)}) > 10


@pytest.mark.parametrize("rng", [1.0, "1", True, -1, object(), np.random])
def test_what_is_no_rng(rng, backend):
    with pytest.raises((TypeError, ValueError), match="rng must be"):
        draws(rng)


def test_a_refused_call_does_not_advance(backend):
    generator = np.random.default_rng(1)
    for call in (
        lambda: td.sample_categories([0, 0], 3, rng=generator),
        lambda: td.sample_categories([1, 1], 3, rng=generator, out=np.empty(4)),
        lambda: td.sample_features([[1, -1]], 3, rng=generator),
        lambda: td.sample_features([[1, 1]], 3, rng=generator, dtype="S1"),
        lambda: td.sample_paths([[1, 1], [1, 1]], 3, 3, rng=generator, initial_state=7),
        lambda: td.Sampler([[1, 1]]).sample(rng=generator, rows=3),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert generator.random() == np.random.default_rng(1).random()


# Splitting a stream -------------------------------------------------------------------------------------------------


def test_different_uses_share_no_words(backend):
    """Flat draws, cells and paths of one seed are different streams; path steps are the cells of a row."""
    grid = [1] * 256
    flat = td.sample_categories(grid, 400, rng=1).reshape(100, 4)
    cells = td.sample_features([grid] * 4, 100, rng=1)
    assert np.mean(flat == cells) < 0.05
    assert np.array_equal(td.sample_paths(np.ones((256, 256), int), 100, 4, rng=1), cells)


def test_workers_split_rows_by_start(backend):
    whole = td.sample_features([[1, 2, 3]] * 5, 1000, rng=1)
    parts = [td.sample_features([[1, 2, 3]] * 5, 250, rng=1, start=250 * worker) for worker in range(4)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_spawned_seeds_differ(backend):
    children = np.random.SeedSequence(1).spawn(3)
    assert len({tuple(draws(child)) for child in children}) == 3


FORK = """
import os, sys
import numpy as np
import tallydraw as td

td.backend.use(sys.argv[1])
sampler = td.Sampler(np.arange(1, 300))
generator = np.random.default_rng(5)
sampler.sample(200_000, rng=1, n_threads=2)  # the threads are awake
reading, writing = os.pipe()
pid = os.fork()
drawn = sampler.sample(200_000, rng=generator).tobytes()  # in the child: serially, and the same
if pid == 0:
    os.write(writing, drawn[:1000] + drawn[-1000:])
    os._exit(0)
os.waitpid(pid, 0)
assert os.read(reading, 5000) == drawn[:1000] + drawn[-1000:]
print("repeated")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("name", td.backend.available())
def test_a_generator_inherited_through_fork_repeats(name):
    """As NumPy's does; and the child, whose parent had threads, does not hang."""
    done = subprocess.run([sys.executable, "-c", FORK, name], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "repeated", done.stderr
