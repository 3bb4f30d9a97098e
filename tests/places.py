"""Where kernels run: every backend with every instruction set that this machine supports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tallydraw as td


def _all() -> list[tuple[str, str]]:
    before, isa = td.backend.active(), td.backend.instruction_set()
    found = []
    for name in td.backend.available():
        td.backend.use(name)
        found += [(name, s) for s in td.backend.instruction_sets()]
    td.backend.use(before, instruction_set=isa)
    return found


PLACES = _all()


@contextmanager
def at(place: tuple[str, str]) -> Iterator[None]:
    """Run the block there."""
    before, isa = td.backend.active(), td.backend.instruction_set()
    td.backend.use(place[0], instruction_set=place[1])
    try:
        yield
    finally:
        td.backend.use(before, instruction_set=isa)
