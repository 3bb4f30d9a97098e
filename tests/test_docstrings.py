"""Docstrings: every example of the public face runs as it is written, on both backends."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

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


# What the package calls of its own values; and what the example of the class shows, or refuses.
NO_EXAMPLE = {
    *(f"Tables.{name}" for name in ("cells", "lanes", "levels", "logs", "seen_as", "smoothed", "totals")),
    "Mixture.partial_fit",
}


def public_callables() -> Iterator[tuple[str, Any]]:
    """Functions and classes of the public face, and the methods that each class has of its own."""
    for name in td.__all__:
        value = getattr(td, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value):
            for method, own in vars(value).items():
                function = getattr(own, "__func__", own)  # of a class method
                if not method.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{method}", function


def test_everything_that_is_called_has_an_example() -> None:
    without = {name for name, value in public_callables() if ">>>" not in (value.__doc__ or "")}
    assert without == NO_EXAMPLE
