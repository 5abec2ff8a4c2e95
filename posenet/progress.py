"""Progress on stderr: a bar where somebody watches, plain lines where a log does."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def say(message: str) -> None:
    """Print one line for the person who waits; stdout is kept for results."""
    print(message, file=sys.stderr, flush=True)


def make_bar() -> Progress:
    """A progress bar that vanishes when done, and shows nothing where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def report_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A function ``report(done, total)`` that moves a bar."""
    with make_bar() as bar:
        task = bar.add_task(description, total=None, status="")
        yield lambda done, total: bar.update(task, completed=done, total=total)
