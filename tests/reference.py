"""Slow, obvious reference of every kernel, in plain Python loops: both backends must equal it with ==.

Written from the contracts, not from the kernels; imports nothing of tallydraw.
"""

from __future__ import annotations

MASK = 2**64 - 1

# Philox -----------------------------------------------------------------------------------------------------------


def philox(counter: tuple[int, int, int, int], key: int) -> tuple[int, int, int, int]:
    """Philox4x32-10 of one counter of 32-bit words, least significant first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(key: int, row: int, feature: int, purpose: int) -> int:
    """The 64-bit uniform of a draw, clamped to 2**64 - 2."""
    words = [
        philox((row & 0xFFFFFFFF, row >> 32, feature // 4, 2 * purpose + part), key)[feature % 4] for part in (0, 1)
    ]
    return min(words[0] << 32 | words[1], MASK - 1)


def flat_uniform(key: int, t: int, purpose: int) -> int:
    """The uniform of flat draw t: word t mod 4 of row t div 4."""
    return uniform(key, t // 4, t % 4, purpose)


# Levels -----------------------------------------------------------------------------------------------------------


# Count ------------------------------------------------------------------------------------------------------------


# Sample: categories, features, paths --------------------------------------------------------------------------------


# Sample: rows, counts -----------------------------------------------------------------------------------------------


# Log-probabilities --------------------------------------------------------------------------------------------------
