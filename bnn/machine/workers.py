"""Sharing work out to threads.

Compiled code holds no lock, so plain Python threads do: this needs no OpenMP runtime beside that of
PyTorch and changes no global setting.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

Result = TypeVar("Result")

_OTHERS = ThreadPoolExecutor(64, thread_name_prefix="engine")
"""Threads are started when they are first needed, and waiting ones cost nothing."""


def in_threads(work: Callable[[int, int], Any], items: int, threads: int) -> None:
    """Call ``work(start, stop)`` for equal parts of 0..items, in `threads` threads at once.

    The calling thread takes the first part. An error of any part is raised when all have ended.

    Raises
    ------
    ValueError
        `threads` is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    workers = max(1, min(threads, items))
    edges = [items * worker // workers for worker in range(workers + 1)]
    others = [_OTHERS.submit(work, *ends) for ends in zip(edges[1:-1], edges[2:], strict=True)]
    try:
        work(0, edges[1])
    finally:
        failed = [error for error in (other.exception() for other in others) if error]
    if failed:
        raise failed[0]


def tasks_in_threads(tasks: Sequence[Callable[[], Result]], threads: int) -> list[Result]:
    """Call functions in `threads` threads at once and give their results in order.

    The calling thread works too; who is done takes the next task. After an error no further task
    is begun, and it is raised when those at work have ended.

    Raises
    ------
    ValueError
        `threads` is below 1.
    """
    results: dict[int, Result] = {}
    waiting = iter(enumerate(tasks))
    taking = Lock()
    failed = False

    def work(start: int, stop: int) -> None:
        nonlocal failed
        try:
            while not failed:
                with taking:
                    index, task = next(waiting, (-1, None))
                if task is None:
                    return
                results[index] = task()
        except BaseException:
            # also an interruption: the others do not go on to the last task
            failed = True
            raise

    workers = min(threads, max(1, len(tasks))) if threads > 0 else threads
    in_threads(work, max(1, workers), workers)
    return [results[index] for index in range(len(tasks))]
