"""The only file that knows of threads: pieces of work on a pool of Python threads, in kernels that release the GIL.

Numba's own threading layers are not used: they end the process after fork(), and compile each kernel twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_SERIAL_WORK = 1 << 15
_MOST_HELPERS = 256
_idle: list[_Helper] = []
# Where the calling thread runs, where the C library says so.
_processor = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
_found: tuple[int, list[Any]] = (0, [])


def kernel(function: Kernel) -> Kernel:
    """Compile on first call and keep on disk: no fast-math, IEEE division, the GIL released. It allocates nothing, and
    so counts no references: a count is a locked addition, for which threads wait. The flag that says so is Numba's own,
    not a public one.
    """
    compiled: Kernel = numba.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)(function)
    return compiled


def allocating_kernel(function: Kernel) -> Kernel:
    """One that makes arrays of its own, and counts references to all it touches: what loops is a piece of it."""
    compiled: Kernel = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled


def inline(function: Kernel) -> Kernel:
    """A piece of kernels, compiled with them. It allocates nothing and returns no array, so it counts no references:
    with tuples of arrays, most of its time would go there.
    """
    compiled: Kernel = numba.njit(nogil=True, error_model="numpy", inline="never", _nrt=False)(function)
    return compiled


def allocating(function: Kernel) -> Kernel:
    """A piece of kernels that makes arrays of its own."""
    compiled: Kernel = numba.njit(nogil=True, error_model="numpy", inline="never", _nrt=True)(function)
    return compiled


def unrolled(function: Kernel) -> Kernel:
    """Operations written out where they are used, so that a loop of them has lanes; callers compile longer."""
    compiled: Kernel = numba.njit(nogil=True, error_model="numpy", inline="always")(function)
    return compiled


def max_threads() -> int:
    """What OMP_NUM_THREADS, NUMBA_NUM_THREADS, the affinity and, where it is in use, threadpoolctl allow."""
    limits = [int(numba.config.NUMBA_NUM_THREADS)]
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        limits.append(int(first))
    if "threadpoolctl" in sys.modules:
        pools = _libraries()
        openmp = [pool for pool in pools if pool.user_api == "openmp"] or pools
        limits += [int(pool.num_threads) for pool in openmp]
    return min(limits)


def _libraries() -> list[Any]:
    """What threadpoolctl finds; to look takes it milliseconds, so it looks again only where modules were imported."""
    global _found
    threadpoolctl = sys.modules["threadpoolctl"]
    if not hasattr(threadpoolctl, "ThreadpoolController"):  # before 3.0, where what was found tells nothing new
        return [SimpleNamespace(**pool) for pool in threadpoolctl.threadpool_info()]
    if _found[0] != len(sys.modules):
        _found = (len(sys.modules), threadpoolctl.ThreadpoolController().lib_controllers)
    return _found[1]


class _Call:
    """What a helper is asked to do, once."""

    def __init__(self, helper: _Helper, work: Callable[[], None]) -> None:
        self.helper = helper
        self.work = work
        self.error: BaseException | None = None
        self.taken, self.done = threading.Lock(), threading.Lock()
        self.done.acquire()

    def begin(self) -> None:
        """By the helper, which is idle again before anybody hears that it is done."""
        if not self.taken.acquire(blocking=False):
            return  # nobody waits for it any more
        try:
            self.work()
        except BaseException as error:  # for who asked
            self.error = error
        finally:
            _idle.append(self.helper)
            self.done.release()

    def end(self) -> None:
        """Waits until it is done; one that has not begun never does, and its helper may be asked again."""
        if self.taken.acquire(blocking=False):
            _idle.append(self.helper)
        else:
            self.done.acquire()


class _Helper(threading.Thread):
    """A thread that is kept from call to call: to start one takes as long as a small call."""

    def __init__(self) -> None:
        super().__init__(name="tallydraw", daemon=True)
        self.calls: SimpleQueue[_Call] = SimpleQueue()
        self.start()

    def ask(self, work: Callable[[], None], processors: set[int]) -> _Call:
        """It begins on one of some processors, and may use no other until it is asked again."""
        if processors and self.native_id is not None:
            with contextlib.suppress(OSError):  # wherever it may run then
                os.sched_setaffinity(self.native_id, processors)
        call = _Call(self, work)
        self.calls.put(call)
        return call

    def run(self) -> None:
        while True:
            self.calls.get().begin()


def _other_processors() -> set[int]:
    """Those that the caller may use but for its own, if there are others; none where nobody says. A thread that sleeps
    may be woken where its caller is, and then does not begin while that one works: a scheduler can take milliseconds to
    part them.
    """
    if _processor is None:
        return set()
    allowed = os.sched_getaffinity(0)
    return allowed - {_processor()} or allowed


def _ask(work: Callable[[], None], n: int) -> list[_Call]:
    """Of n helpers, or fewer."""
    calls, processors = [], _other_processors()
    for _ in range(n):
        try:
            helper = _idle.pop()
        except IndexError:
            try:
                helper = _Helper()
            except RuntimeError:
                break  # the interpreter is ending: no other thread starts any more
        calls.append(helper.ask(work, processors))
    return calls


def _after_fork() -> None:
    _idle.clear()  # they are not in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def worth(threads: int, work: int) -> int:
    """How many threads so many cells, draws or steps are worth: to wake another one takes as long as thousands."""
    return threads if work >= _SERIAL_WORK else 1


def parallel_blocks(n: int, grain: int, threads: int, body: Callable[[int, int, int], Any]) -> list[Any]:
    """body(begin, end, piece) for the pieces [0, grain), [grain, 2 grain), … of [0, n), results in order."""
    pieces = [(a, min(n, a + grain), i) for i, a in enumerate(range(0, n, grain))]
    if threads <= 1 or len(pieces) <= 1:
        return [body(*piece) for piece in pieces]
    found: list[Any] = [None] * len(pieces)
    open_pieces = deque(pieces)

    def work() -> None:
        while True:
            try:
                piece = open_pieces.popleft()
            except IndexError:
                return
            found[piece[2]] = body(*piece)

    calls = _ask(work, min(threads, len(pieces), _MOST_HELPERS + 1) - 1)
    try:
        work()
    finally:
        open_pieces.clear()
        for call in calls:
            call.end()
    for call in calls:
        if call.error is not None:
            raise call.error
    return found


def first_index(found: list[Any]) -> int:
    """The least index that any piece reported, or -1."""
    return int(min((i for i in found if i >= 0), default=-1))


def merge_lock() -> threading.Lock:
    """For adding a task's integers to a shared result; a floating sum must never pass here, its order would be lost."""
    return threading.Lock()
