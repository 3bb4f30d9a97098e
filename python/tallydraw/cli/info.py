"""``tallydraw info``: which tallydraw, on what, with which kernels."""

from __future__ import annotations

import platform
import sys
import sysconfig

import numpy as np

import tallydraw
from tallydraw import backend

__all__ = ["kernels_in_use", "report"]


def report() -> str:
    """Version, backend, instruction set, threads, Python and NumPy, a line each."""
    free_threaded = ", free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    lines = {
        "tallydraw": tallydraw.__version__,
        "backend": f"{backend.active()} (installed: {', '.join(backend.available())})",
        "instruction set": f"{backend.instruction_set()} (supported here: {', '.join(backend.instruction_sets())})",
        "threads": str(thread_count()),
        "Python": f"{platform.python_version()} ({platform.python_implementation()}{free_threaded}, "
        f"{sys.platform} {platform.machine()})",
        "NumPy": np.__version__,
    }
    return "\n".join(f"{name:<16} {value}" for name, value in lines.items())


def kernels_in_use() -> str:
    """Backend, instruction set and thread count, in one line."""
    n = thread_count()
    return f"backend {backend.active()}, instruction set {backend.instruction_set()}, {n} thread{'s' * (n != 1)}"


def thread_count() -> int:
    """How many threads a large call uses."""
    return backend.threads(None, 1 << 62)
