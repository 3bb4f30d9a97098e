"""group_codes: the codes of groups of features as one number, whatever their dtype, layout and missing cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import laid_out
from tallydraw._structure import make_structure


@st.composite
def tasks(draw: Any) -> tuple[Any, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(0, 40) | st.just(3000)), draw(st.integers(1, 9))
    sizes = rng.integers(1, draw(st.sampled_from([2, 4, 256])) + 1, d)
    X = np.stack([rng.integers(0, c, n) for c in sizes], axis=1).astype(draw(st.sampled_from([np.int16, np.int64])))
    if draw(st.booleans()):
        X[rng.random(X.shape) < 0.3] = -1
    elif draw(st.booleans()):
        X = X.astype(np.uint8)
    sizes = np.minimum(sizes, 255) if (X < 0).any() else sizes
    X = np.minimum(X, sizes - 1).astype(X.dtype)
    n_codes = sizes + (X < 0).any(axis=0)
    begins, product = [0], n_codes[0]
    for j in range(1, d):
        product *= n_codes[j]
        if product > 256 or rng.random() < 0.2:
            begins.append(j)
            product = n_codes[j]
    layout, threads = draw(st.sampled_from(["C", "F", "strided"])), draw(st.sampled_from([1, 2, 7]))
    return laid_out(X, layout), sizes, n_codes, [*begins, d], threads


@given(task=tasks())
@settings(max_examples=60, deadline=None)
def check_against_reference(task: tuple[Any, ...]) -> None:
    X, sizes, n_codes, begins, threads = task
    out = np.full((len(X), len(begins) - 1), 77, np.uint8)
    groups = np.array(begins, np.int64)
    td.backend.kernels().group_codes(X, None, False, make_structure(sizes), groups, n_codes, out, threads)
    assert out.tolist() == [reference.group_codes(row, sizes.tolist(), n_codes.tolist(), begins) for row in X.tolist()]


def test_equals_the_reference_on_every_instruction_set(backend: str) -> None:
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()
