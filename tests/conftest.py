"""Every test that asks for `backend` runs once a backend; failing array comparisons show the first differing cells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tallydraw as td


@pytest.fixture(params=["cpp", "numba"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend in use during the test. An absent one is a skip; CI builds and so runs both."""
    before, isa = td.backend.active(), td.backend.instruction_set()
    if request.param not in td.backend.available():
        pytest.skip(f"the backend {request.param} is not installed")
    td.backend.use(request.param)
    yield request.param
    td.backend.use(before, instruction_set=isa)
