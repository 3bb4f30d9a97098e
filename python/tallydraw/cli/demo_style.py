"""How the demo speaks: one look for its tables, numbers in words, output that survives any terminal or pipe."""

from __future__ import annotations

import sys

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["count", "duration", "nats", "new_console", "new_notes", "new_table", "size"]

PIPE_WIDTH = 80  # where there is no terminal to ask; every table and note fits


def new_console() -> Console:
    """A console on standard output; a character its encoding lacks becomes '?' instead of an error."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def new_table(title: str) -> Table:
    """An empty table with the look of all of them."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def new_notes() -> Table:
    """Words and what they mean, in two columns."""
    notes = Table.grid(padding=(0, 2, 0, 0))
    notes.add_column(no_wrap=True, style="dim")
    notes.add_column()
    return notes


# Numbers in words ----------------------------------------------------------------------------------------------------


def count(n: int) -> str:
    """A number of parameters, to be read at a glance."""
    return f"{n:,}" if n < 10**9 else f"{n:.1e}".replace("e+", "e")


def nats(value: float) -> str:
    """A log-probability."""
    return "−∞" if np.isneginf(value) else f"{value:.1f}".replace("-", "−")


def size(n_bytes: int) -> str:
    """A number of bytes in a binary unit."""
    amount, units = float(n_bytes), ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if amount < 1024 else f"{amount:.0e} {units[0]}".replace("e+", "e")


def duration(value: float) -> str:
    """Seconds in a unit that suits them."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"
