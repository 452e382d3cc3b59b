"""Interruptions: Ctrl-C, SIGTERM and the end of a terminal.

A signal raises ``KeyboardInterrupt`` in the main thread, and code from elsewhere may swallow that
(a sampler that answers with the draws so far, a finaliser). So the signal is also remembered, and
:func:`asked` tells before anything is written. Signals belong to a process, hence module state.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

FAILED = 1
"""Exit code of an interrupted process."""

_came: list[int] = []
_said: list[str] = []


def asked() -> bool:
    """Whether a signal has asked the running command to stop."""
    return bool(_came)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals raise ``KeyboardInterrupt``; one that the caller ignores stays ignored.

    After :func:`say_last` signals stay as they are, for the rest of the process.
    """
    _came.clear()
    _said.clear()
    before = _replace(_interrupt)
    try:
        yield
    finally:
        if not _said:
            _restore(before)


def say_last(text: str) -> int:
    """Say how an interrupted process ends; gives its exit code.

    A further signal then ends the process at once, which may still wait for threads.
    """
    with held_back():
        print(text, file=sys.stderr, flush=True)
        _said.append(text)
    return FAILED


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait for the end of the block, which is short and must not be torn apart."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = _replace(lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        _restore(before)
        if waiting:
            signal.raise_signal(waiting[0])


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _said:
        os._exit(FAILED)
    _came.append(number)
    raise KeyboardInterrupt


def _replace(handler: signal._HANDLER) -> dict[int, signal._HANDLER]:
    """Set a handler for every signal that is not ignored; gives those of before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    # None: set by code outside Python, which cannot be restored
    heeded: dict[int, signal._HANDLER] = {
        n: h for n, h in before.items() if h not in (signal.SIG_IGN, None)
    }
    for number in heeded:
        signal.signal(number, handler)
    return heeded


def _restore(before: dict[int, signal._HANDLER]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
