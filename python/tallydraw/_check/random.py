"""The key of a stream of draws, from anything that SPEC 7 calls rng."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.random import BitGenerator, Generator, RandomState, SeedSequence

RNG: TypeAlias = (
    "None | int | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | np.random.RandomState"
)


def key(rng: Any) -> int:
    """The 64-bit Philox key.

    From a Generator, BitGenerator or RandomState: ((a * 2**32) xor b) mod 2**64 of two successive raw words, so that
    successive calls differ. From None, an int, a sequence of ints or a SeedSequence: the first word of its state;
    None takes fresh entropy of the operating system at each call.
    """
    bits = rng.bit_generator if type(rng) is Generator else _bits(rng)  # most are: a call less
    if bits is None:
        if isinstance(rng, SeedSequence):
            seed = rng
        else:
            if isinstance(rng, (bool, np.bool_, float, np.floating, str, bytes)):
                raise TypeError(_message(rng))
            try:
                seed = SeedSequence(rng)
            except (TypeError, ValueError) as error:
                raise type(error)(_message(rng)) from error
        return int(seed.generate_state(1, np.uint64)[0])
    word = bits.random_raw
    return ((word() << 32) ^ word()) & 0xFFFF_FFFF_FFFF_FFFF


def _bits(rng: Any) -> BitGenerator | None:
    if isinstance(rng, Generator):
        return rng.bit_generator
    if isinstance(rng, RandomState):
        return rng._bit_generator
    return rng if isinstance(rng, BitGenerator) else None


def saved_state(rng: Any) -> Callable[[], None]:
    """What undoes the draws from a generator since; for a call that learns only while drawing that it must fail."""
    bits = _bits(rng)
    if bits is None:
        return lambda: None
    state = bits.state

    def restore() -> None:
        bits.state = state

    return restore


def _message(rng: Any) -> str:
    return (
        "rng must be None, a non-negative int, or a numpy SeedSequence, BitGenerator, Generator or RandomState, "
        f"got {rng!r}"
    )
