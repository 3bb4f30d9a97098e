"""sample_shares: rows uniform on the simplex, equal to the reference, whatever is drawn at once."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import tallydraw as td
from scipy import stats

KEY, START = 0xFEED_5EED_0BAD_CAFE, 6


def shares(attempt: int, start: int, n: int, k: int, threads: int = 1) -> np.ndarray:
    out = np.full((n, k), 7.0)
    td.backend.kernels().sample_shares(KEY, attempt, start, out, threads)
    return out


@pytest.mark.parametrize(("n", "k"), [(0, 3), (1, 1), (40, 2), (300, 5), (70, 20), (9, 1030)])
def test_equals_the_reference_on_every_instruction_set(n: int, k: int, backend: str) -> None:
    for attempt, start in ((0, 0), (3, 2**32 - 5)):
        expected = [reference.simplex_row(KEY, start + i, k, 256 * attempt + 2 * START) for i in range(n)]
        for name in td.backend.instruction_sets():
            td.backend.use(backend, instruction_set=name)
            for threads in (1, 2, 7):
                assert shares(attempt, start, n, k, threads).tolist() == expected


def test_parts_are_slices_of_the_whole(backend: str) -> None:
    whole = shares(1, 0, 6000, 3, 2)
    assert np.array_equal(shares(1, 2500, 700, 3), whole[2500:3200])


def test_a_share_of_three_has_a_beta_distribution(backend: str) -> None:
    drawn = shares(0, 0, 20_000, 3)
    assert drawn.sum(axis=1) == pytest.approx(np.ones(len(drawn)), abs=1e-15)
    assert stats.kstest(drawn[:, 1], stats.beta(1, 2).cdf).pvalue > 1e-4
