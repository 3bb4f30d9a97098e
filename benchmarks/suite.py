"""What the bench files share: one case for each workload and each who computes it, grouped by workload."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import peers
import pytest
import tallydraw as td
import workloads
from workloads import Workload

BACKENDS = ("cpp", "numba")


def cases(*verbs: str) -> list[Any]:
    """pytest parameters (workload, who): who is a backend, or a peer by name."""
    found = []
    for w in workloads.WORKLOADS:
        if w.verb in verbs:
            for who in (*BACKENDS, *(peer.name for peer in peers.of(w))):
                found.append(pytest.param(w, who, id=f"{w.name}-{who}"))
    return found


def run(benchmark: Any, w: Workload, who: str) -> None:
    """Time one case; the result is checked against the core's first."""
    benchmark.group = f"{w.verb}: {w.name}"
    benchmark.extra_info.update(items=w.items, unit=w.unit, size=workloads.SIZE)
    if who in BACKENDS:
        if who not in td.backend.available():
            pytest.skip(f"the backend {who} is not installed")
        call = w.ours()
        expected = _core_result(w)
        td.backend.use(who)
        try:
            peers.agrees(w, expected, call())
            benchmark(call)
        finally:
            td.backend.use(td.backend.available()[0])
        return
    peer = next(p for p in peers.of(w) if p.name == who)
    try:
        call, items = peer.ready(w)
    except peers.NotSuited:
        pytest.skip("the idiom does not suit this workload")
    except peers.Missing as missing:
        pytest.skip(str(missing))
    benchmark.extra_info["items"] = items
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peers.agrees(w, _core_result(w), call())
        benchmark(call)


@functools.lru_cache(maxsize=1)
def _core_result(w: Workload) -> Any:
    td.backend.use(td.backend.available()[0])
    return w.ours()()
