"""A progress bar for those who ask for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(show: bool, n_init: int, max_iter: int) -> Iterator[Callable[[int, int, float], None]]:
    """What is told the number of the run and of the iteration, and the objective a row."""
    if not show:
        yield lambda run, iteration, objective: None
        return
    try:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        raise ImportError("progress=True needs rich: pip install rich, or tallydraw[demo]") from None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[objective]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("EM", total=n_init * max_iter, objective="")

        def tick(run: int, iteration: int, objective: float) -> None:
            name = f"EM {run + 1}/{n_init}, iteration {iteration + 1}"
            bar.update(
                task, completed=run * max_iter + iteration + 1, description=name, objective=f"{objective:.6f} a row"
            )

        yield tick
        bar.update(task, completed=n_init * max_iter)
