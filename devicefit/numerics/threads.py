"""Threads: rows of a large array shared out between them, and none for small matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep the linear algebra of NumPy and SciPy in the calling thread.

    Matrices here are small. Threads of a BLAS gain nothing on them, and where another process wants
    the cores they wait for each other: a fit of 0.1 s then takes 5 s.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def in_threads(work: Callable[[int, int], None], count: int, *, block: int) -> None:
    """Call ``work(begin, end)`` for every block of ``range(count)``.

    Plain Python threads around compiled code that holds no lock: nothing global is set, and a
    process may still fork afterwards. As many as Numba would use (``NUMBA_NUM_THREADS``). Each
    block writes its own part of the result, which then does not depend on the number of threads.

    Parameters
    ----------
    work : callable
        Writes its part of the result; what it raises is raised here.
    count : int
        Rows.
    block : int
        Rows of a block, positive.
    """
    starts = range(0, count, block)
    threads = min(numba.get_num_threads(), len(starts))
    if threads <= 1:
        work(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        # list: an error in a thread is raised here
        list(pool.map(lambda begin: work(begin, min(begin + block, count)), starts))
