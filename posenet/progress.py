"""What people see while and after they wait: progress on stderr, tables on stdout."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


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


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, folded to the terminal; in a file or a pipe nothing is folded."""
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=False)
    for column, name in enumerate(header):
        table.add_column(name, no_wrap=column == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        unbounded = console.options.update(max_width=1000)
        console.width = Measurement.get(console, unbounded, table).maximum
    console.print(table)
