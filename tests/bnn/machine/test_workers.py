"""Sharing work out to threads."""

import threading
import time

import pytest

from bnn.machine.workers import tasks_in_threads


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_results_come_in_the_order_of_the_tasks(threads: int) -> None:
    def task(number: int) -> int:
        # later tasks end first
        time.sleep(0.002 * (5 - number))
        return number

    tasks = [lambda number=number: task(number) for number in range(5)]
    assert tasks_in_threads(tasks, threads) == [0, 1, 2, 3, 4]
    assert tasks_in_threads([], threads) == []


def test_so_many_threads_work_at_once() -> None:
    both = threading.Barrier(2, timeout=10)
    tasks_in_threads([both.wait, both.wait], 2)
    used = tasks_in_threads([threading.get_ident] * 50, 1)
    assert set(used) == {threading.get_ident()}


@pytest.mark.parametrize("error", [RuntimeError("task 0"), KeyboardInterrupt("task 0")])
def test_an_error_is_raised_when_those_at_work_have_ended(error: BaseException) -> None:
    ended = []
    both = threading.Barrier(2, timeout=10)

    def fail() -> None:
        both.wait()
        raise error

    def work() -> None:
        both.wait()
        time.sleep(0.05)
        ended.append(1)

    # an interrupted evaluation used to go on to the last of its chips
    with pytest.raises(type(error), match="task 0"):
        tasks_in_threads([fail, work, lambda: ended.append(2)], 2)
    assert ended == [1]
    with pytest.raises(ValueError, match="threads must be at least 1"):
        tasks_in_threads([fail], 0)
