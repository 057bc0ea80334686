"""One thread or all: what is measured decides, and is measured again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from fastmlp.kernels.thread_choice import FIRST_PAUSE, LONGEST_PAUSE, ThreadChoice


def chosen(choice: ThreadChoice, n_calls: int, seconds: Callable[[int, int], float]) -> list[int]:
    """Run calls of 1000 rows that take `seconds(call, n_threads)`; return the threads of each."""
    found = []
    for call in range(n_calls):
        n_threads = choice.choose()
        choice.learn(n_threads, seconds(call, n_threads), 1000)
        found.append(n_threads)
    return found


def test_all_threads_where_they_are_faster() -> None:
    choice = ThreadChoice(4)
    assert chosen(choice, 100, lambda call, n: 0.1 / n) == [4, 1, *[4] * 98]


def test_one_thread_where_all_are_slower_with_a_look_now_and_then() -> None:
    choice = ThreadChoice(2)
    found = chosen(choice, 1000, lambda call, n: 0.1 * n)
    assert found[:4] == [2, 1, 2, 1]
    tries = [call for call, n in enumerate(found) if n == 2]
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[1:3] == [FIRST_PAUSE + 1, 2 * FIRST_PAUSE + 1]
    assert max(gaps) == gaps[-1] == LONGEST_PAUSE + 1


def test_one_slow_call_changes_nothing() -> None:
    choice = ThreadChoice(2)
    assert chosen(choice, 50, lambda call, n: 1.0 if call % 7 == 3 else 0.1 / n)[2:] == [2] * 48


def test_all_threads_again_once_the_other_program_has_ended() -> None:
    choice = ThreadChoice(2)
    found = chosen(choice, 300, lambda call, n: 0.1 / n if not 50 <= call < 100 or n == 1 else 1.0)
    assert found[2:50] == [2] * 48
    assert found[52:60] == [1] * FIRST_PAUSE  # the two calls in between were slow
    assert found[200:] == [2] * 100


def test_one_planned_thread_stays_one() -> None:
    assert chosen(ThreadChoice(1), 20, lambda call, n: 0.1) == [1] * 20


def test_calls_that_are_too_short_say_nothing() -> None:
    choice = ThreadChoice(2)
    assert chosen(choice, 10, lambda call, n: 1e-5) == [2] * 10
    assert choice.seconds_per_row == {}
