"""group_codes: the codes of groups of features as one number, whatever their dtype, layout and missing cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import laid_out
from tallydraw._structure import make_structure


@st.composite
def tasks(draw: Any) -> tuple[Any, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(0, 40) | st.just(3000)), draw(st.integers(1, 9))
    sizes = rng.integers(1, draw(st.sampled_from([3, 6])), d)
    X = np.stack([rng.integers(0, c, n) for c in sizes], axis=1).astype(draw(st.sampled_from([np.int8, np.int64])))
    if draw(st.booleans()):
        X[rng.random(X.shape) < 0.3] = -1
    elif draw(st.booleans()):
        X = X.astype(np.uint8)
    begins = [0, *sorted(set(rng.integers(0, d, 3).tolist()) - {0}), d]
    return laid_out(X, draw(st.sampled_from(["C", "F", "strided"]))), sizes, begins, draw(st.sampled_from([1, 2, 7]))


@given(task=tasks())
@settings(max_examples=60, deadline=None)
def check_against_reference(task: tuple[Any, ...]) -> None:
    X, sizes, begins, threads = task
    radix = np.random.default_rng(0).integers(0, 5, len(sizes)).astype(np.uint8)
    out = np.full((len(X), len(begins) - 1), 77, np.uint8)
    groups = np.array(begins, np.int64)
    td.backend.kernels().group_codes(X, None, False, make_structure(sizes), groups, radix, out, threads)
    digits = np.where(X < 0, sizes, X) * radix.astype(np.int64)
    assert out.tolist() == np.add.reduceat(digits, begins[:-1], axis=1).tolist()


def test_equals_the_reference_on_every_instruction_set(backend: str) -> None:
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()
