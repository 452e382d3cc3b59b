"""Progress: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Narrator:
    """Tells what is being done; use as a context manager.

    Parameters
    ----------
    quiet : bool
        Say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._start = time.monotonic()
        self._tenth = 0
        self._task: TaskID | None = None
        self._bars: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Narrator:
        """Start the bars."""
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the bars."""
        if self._bars:
            self._finish_bar()
            self._bars.stop()

    def say(self, text: str) -> None:
        """Begin a step."""
        self._tenth = 0
        if self._bars:
            self._finish_bar()
            self._task = self._bars.add_task(text, total=None)
        elif not self._quiet:
            print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)

    def tick(self, done: int, total: int) -> None:
        """Tell how far the step is; a log gets at most one line for each quarter."""
        if self._bars and self._task is not None:
            self._bars.update(self._task, completed=done, total=total)
        elif not self._quiet and total > 4 and 4 * done // total > self._tenth and done < total:
            self._tenth = 4 * done // total
            seconds = time.monotonic() - self._start
            print(f"[{seconds:6.1f} s]   {done} of {total}", file=sys.stderr, flush=True)

    def _finish_bar(self) -> None:
        if self._bars and self._task is not None:
            task = self._bars.tasks[self._task]
            total = task.total or 1
            self._bars.update(self._task, completed=total, total=total)
