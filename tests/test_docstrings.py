"""Docstrings: every example of the public face runs as it is written, on both backends."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import tallydraw as td

MODULES = sorted(
    ["tallydraw"]
    + [
        info.name
        for info in pkgutil.walk_packages(td.__path__, "tallydraw.")
        # The demo has no public face, and needs the extra of its own that test_cli asks for.
        if not info.name.startswith(("tallydraw._numba", "tallydraw._core", "tallydraw.__main__", "tallydraw.cli"))
    ]
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, backend: str) -> None:
    failed, _ = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert failed == 0
