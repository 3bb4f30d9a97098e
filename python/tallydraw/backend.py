"""Which kernels run: list, report and force the backends and their instruction sets.

Two backends have the same kernels, arguments and bits: ``"cpp"`` (compiled, OpenMP) and ``"numba"`` (just-in-time
compiled). ``"cpp"`` is taken where it was built. The environment variables ``TALLYDRAW_BACKEND`` and
``TALLYDRAW_INSTRUCTION_SET`` force a choice at import; an unknown, unsupported or broken one is an error. Only an
*absent* compiled backend falls back, with one warning.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["active", "available", "instruction_set", "instruction_sets", "use"]

_MODULES = {"cpp": "tallydraw._core", "numba": "tallydraw._numba"}
_NEEDS = {"cpp": "tallydraw._core", "numba": "numba"}

# Work below this many cells, draws or steps is done by one thread: starting a team costs more.
SERIAL_WORK = 1 << 15
# One kernel call does at most this much work, about a tenth of a second, so that Ctrl-C is heard in time; on a backend
# whose dearest cells cost several times as much, so much less.
BLOCK_WORK = 1 << 25
_COST = {"cpp": 1, "numba": 4}
_SPIN = "GOMP_SPINCOUNT"

_name: str
_kernels: Any
_forked = False


def available() -> list[str]:
    """Names of the backends that are installed, the preferred one first.

    Examples
    --------
    >>> import tallydraw as td
    >>> "numba" in td.backend.available()
    True
    """
    return [name for name, needs in _NEEDS.items() if importlib.util.find_spec(needs) is not None]


def active() -> str:
    """Name of the backend in use: ``"cpp"`` or ``"numba"``.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.backend.active() in td.backend.available()
    True
    """
    return _name


def use(name: str, *, instruction_set: str | None = None) -> None:
    """Force a backend, and for ``"cpp"`` an instruction set, from now on in this process.

    Parameters
    ----------
    name : {"cpp", "numba"}
    instruction_set : str, optional
        One of :func:`instruction_sets`. Default: the widest that the machine supports.

    Raises
    ------
    ValueError
        Unknown backend or instruction set, or one this machine does not support.
    ImportError
        The backend is not installed, or its import fails.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.backend.use(td.backend.active())
    """
    global _name, _kernels
    if name not in _MODULES:
        raise ValueError(f"backend must be one of {sorted(_MODULES)}, got {name!r}")
    if importlib.util.find_spec(_NEEDS[name]) is None:
        raise ImportError(
            "the compiled backend 'cpp' is not installed: reinstall tallydraw on a machine with a C++17 compiler, "
            "or use the backend 'numba'"
            if name == "cpp"
            else "the backend 'numba' needs the package numba: pip install numba"
        )
    try:
        kernels = _load(_MODULES[name])
    except ImportError as error:
        other = "numba" if name == "cpp" else "cpp"
        raise ImportError(
            f"tallydraw's backend {name!r} is installed, but cannot be loaded ({error}): "
            f"reinstall it, or set TALLYDRAW_BACKEND={other}"
        ) from error
    sets = _set_names(kernels)
    if instruction_set is not None and instruction_set not in sets:
        raise ValueError(
            f"instruction_set must be one of {sets} with the backend {name!r} on this machine, got {instruction_set!r}"
        )
    kernels.use_instruction_set(_internal(instruction_set if instruction_set is not None else sets[-1]))
    _name, _kernels = name, kernels


def _load(module: str) -> Any:
    """Import a backend's module, with a short spin.

    GCC's OpenMP reads how long a thread without work spins when it is loaded. Its default, several milliseconds, takes
    a core from whatever runs after a call; this, about a third of one, still bridges the gap between two calls. What
    the user has set stands, and the environment is left as it was.
    """
    if module in sys.modules or "OMP_WAIT_POLICY" in os.environ or _SPIN in os.environ:
        return importlib.import_module(module)
    os.environ[_SPIN] = "10000"
    try:
        return importlib.import_module(module)
    finally:
        os.environ.pop(_SPIN, None)


def instruction_sets() -> list[str]:
    """Instruction sets of the active backend that this machine supports, the narrowest first.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.backend.instruction_set() in td.backend.instruction_sets()
    True
    """
    return _set_names(_kernels)


def instruction_set() -> str:
    """The instruction set in use: one of :func:`instruction_sets`."""
    return _public(_kernels.instruction_set())


def _public(name: str) -> str:
    return name.replace("x86_64_", "x86-64-")


def _internal(name: str) -> str:
    return name.replace("x86-64-", "x86_64_")


def _set_names(kernels: Any) -> list[str]:
    return [_public(name) for name in kernels.instruction_sets()]


# What the verbs ask of this module -----------------------------------------------------------------------------------


def kernels() -> Any:
    """The module whose functions ``_core.pyi`` describes."""
    return _kernels


def threads(n_threads: int | None, work: int) -> int:
    """How many threads to use for `work` cells, draws or steps; `n_threads` is checked already."""
    if _forked:
        # A thread pool does not survive fork(); an OpenMP region in the child would wait for it for ever.
        return 1
    if n_threads is not None:
        return n_threads
    if work < SERIAL_WORK:
        return 1
    return max(1, min(int(_kernels.max_threads()), _affinity()))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def block_work() -> int:
    """Most work of one kernel call on the active backend."""
    return BLOCK_WORK // _COST[_name]


def blocks(n: int, work_per_row: int = 1) -> Iterator[tuple[int, int]]:
    """Slices [a, b) of n rows, each at most BLOCK_WORK of work: between them Python hears Ctrl-C."""
    step = max(1, block_work() // max(1, work_per_row))
    for a in range(0, n, step):
        yield a, min(n, a + step)


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _choose() -> None:
    forced = os.environ.get("TALLYDRAW_BACKEND")
    isa = os.environ.get("TALLYDRAW_INSTRUCTION_SET") or None
    if forced or importlib.util.find_spec(_NEEDS["cpp"]) is not None:
        try:
            use(forced or "cpp", instruction_set=isa)
        except ValueError as error:
            argument, _, wrong = str(error).partition(" must be one of ")
            if argument not in ("backend", "instruction_set"):
                raise
            raise ValueError(f"TALLYDRAW_{argument.upper()} must be one of {wrong}") from None
    else:
        warnings.warn(
            "tallydraw was installed without its compiled backend and runs on Numba: the same results, slower start. "
            "Reinstall on a machine with a C++17 compiler to have it; set TALLYDRAW_BACKEND=numba to silence this.",
            RuntimeWarning,
            stacklevel=_stacklevel(),
        )
        use("numba", instruction_set=isa)


def _stacklevel() -> int:
    """The first frame outside this package, so that the warning is shown there; warn() skips the import machinery."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if "importlib" in frame.f_code.co_filename and "_bootstrap" in frame.f_code.co_filename:
            continue
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] != "tallydraw":
            break
    return level


_choose()
