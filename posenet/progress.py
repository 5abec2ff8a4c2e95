"""What people see while and after they wait: progress on stderr, tables on stdout."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from posenet.processes import current_world


def say(message: str) -> None:
    """Print one line for the person who waits; stdout is kept for results.

    Of several processes the first speaks for all.
    """
    if current_world().is_main:
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
        disable=not console.is_terminal or not current_world().is_main,
    )


@contextmanager
def report_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A function ``report(done, total)`` that moves a bar."""
    with make_bar() as bar:
        task = bar.add_task(description, total=None, status="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, fitted to the terminal; in a file or a pipe nothing is folded.

    Where a terminal is too narrow for the longest words, each row becomes a block of lines.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    # Printed by ourselves in the end: rich exits where a reader has closed the pipe.
    screen, text = Console(), StringIO()
    console = Console(
        file=text,
        width=screen.width,
        force_terminal=screen.is_terminal,
        markup=False,
        highlight=False,
    )
    needed = Measurement.get(console, console.options.update(max_width=1000), table)
    if not screen.is_terminal:
        console.width = needed.maximum
    if needed.minimum <= console.width:
        console.print(table)
    else:
        console.print(title, style="bold")
        for name, *cells in rows:
            console.print(f"\n{name}")
            for label, cell in zip(header[1:], cells, strict=True):
                console.print(Padding(f"{label}: {cell}", (0, 0, 0, 2)))
    print(text.getvalue())
