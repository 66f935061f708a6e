"""The scheduler bounds an iteration of the event loop and is fair, on a simulated clock."""

import logging
import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.support.simulated_loop import SimulatedLoop
from zoolet.model.codes import OpCode
from zoolet.server.common.scheduler import BUDGET_S, LONGEST_WAIT_S, QUANTUM_S, Share


@pytest.fixture
def loop() -> SimulatedLoop:
    return SimulatedLoop()


def test_little_work_is_done_at_once_and_schedules_nothing(loop: SimulatedLoop) -> None:
    loop.work(Share("one"), 0.001)
    assert not loop.ready
    assert not loop.scheduler.is_crowded


def test_work_above_the_budget_makes_the_rest_wait_until_the_next_iteration(
    loop: SimulatedLoop,
) -> None:
    share = Share("one")
    while not loop.scheduler.is_crowded:
        loop.work(share, 0.002)
    assert loop.now_s <= BUDGET_S + 0.004
    loop.iterate()
    assert not loop.scheduler.is_crowded


@pytest.mark.parametrize("num_greedy", [1, 59, 500])
def test_who_asks_for_little_is_served_behind_one_slice(
    loop: SimulatedLoop, num_greedy: int
) -> None:
    scheduler = loop.scheduler
    served: list[str] = []

    def greedy(name: str) -> Callable[[], bool]:
        def run() -> bool:
            served.append(name)
            loop.now_s += 0.1  # one request that cannot be cut up
            return True

        return run

    for number in range(num_greedy):
        share = Share(f"greedy {number}")
        share.next_cost_us = 100_000
        scheduler.add(share, greedy(share.name))
    for _ in range(3):
        loop.iterate()
    before = len(served)

    def modest() -> bool:
        served.append("modest")
        return False

    scheduler.add(Share("modest"), modest)
    loop.iterate()
    assert "modest" in served[before : before + 2]


def test_who_adds_itself_during_its_turn_pays_for_the_turn_first(loop: SimulatedLoop) -> None:
    """A connection does so when its client takes only a part of what is sent."""
    scheduler = loop.scheduler
    served: list[str] = []

    def add(share: Share, turns: int, turn_s: float = 0.001) -> None:
        def run() -> bool:
            served.append(share.name)
            loop.now_s += turn_s
            if served.count(share.name) < turns:
                scheduler.add(share, run)
            return False

        scheduler.add(share, run)

    for number in range(59):
        add(Share(f"greedy {number}"), 3, 0.001 + number * 0.00001)
    while len(served) < 59:
        loop.iterate()
    before = len(served)
    add(Share("newcomer"), 1)
    loop.until_idle()
    assert "newcomer" in served[before : before + 2]
    assert len(served) == 3 * 59 + 1


def test_work_that_is_done_at_once_does_not_put_newcomers_behind_those_that_wait(
    loop: SimulatedLoop,
) -> None:
    """The replies of a batch are sent at once, also while others wait."""
    scheduler = loop.scheduler
    served: list[str] = []

    def waiting(name: str) -> Callable[[], bool]:
        def run() -> bool:
            served.append(name)
            loop.now_s += 0.03
            return False

        return run

    for number in range(20):
        share = Share(f"waiting {number}")
        share.next_cost_us = 1000
        scheduler.add(share, waiting(share.name))
    sending = Share("sending replies")
    for _ in range(3):
        loop.iterate()
        loop.work(sending, 0.002)
    before = len(served)
    scheduler.add(Share("newcomer"), waiting("newcomer"))
    loop.until_idle()
    assert "newcomer" in served[before : before + 2]


@pytest.mark.parametrize("used_s", [0.0, 0.003, 0.01])
def test_if_slices_take_longer_than_estimated_short_requests_go_first(
    loop: SimulatedLoop, used_s: float
) -> None:
    """Also those of a client that has used more of the thread before than the others."""
    scheduler = loop.scheduler
    served: list[str] = []

    def taking(name: str, spent_s: float) -> Callable[[], bool]:
        def run() -> bool:
            served.append(name)
            loop.now_s += spent_s
            return False

        return run

    modest = Share("modest")
    loop.work(modest, used_s)
    for number in range(59):
        share = Share(f"greedy {number}")
        share.next_cost_us = 1000
        scheduler.add(share, taking(share.name, 0.065))
    loop.iterate()
    loop.iterate()
    before = len(served)
    scheduler.add(modest, taking("modest", 0.0001))
    loop.until_idle()
    assert "modest" in served[before : before + 2]
    assert len(served) == 60


@pytest.mark.parametrize("long_s", [0.003, 0.03, 0.3])
def test_who_comes_after_a_long_slice_does_not_wait_behind_those_that_come_later(
    loop: SimulatedLoop, long_s: float
) -> None:
    """One slice in a hundred takes much longer than its size says, as when a table grows."""
    scheduler = loop.scheduler
    turns = 0

    def greedy() -> bool:
        nonlocal turns
        turns += 1
        loop.now_s += long_s if turns % 100 == 0 else QUANTUM_S
        return True

    waits_s = []
    waiting_since_s = 0.0

    def modest() -> bool:
        loop.now_s += 0.00001
        waits_s.append(loop.now_s - waiting_since_s)
        return False

    for number in range(59):
        share = Share(f"greedy {number}")
        share.next_cost_us = 2
        scheduler.add(share, greedy)
    share = Share("modest")
    share.next_cost_us = 2
    for _ in range(300):
        loop.iterate()
        if not share.is_waiting:
            waiting_since_s = loop.now_s
            scheduler.add(share, modest)
    assert len(waits_s) > 20
    assert max(waits_s) <= long_s + 6 * BUDGET_S


def test_newcomers_do_not_keep_those_that_wait_waiting_for_ever(loop: SimulatedLoop) -> None:
    """More new connections come in each iteration than can be served in it."""
    scheduler = loop.scheduler
    served_s: list[float] = []

    def newcomer() -> bool:
        loop.now_s += 0.0009
        return False

    def old() -> bool:
        loop.now_s += 0.0001
        served_s.append(loop.now_s)
        return len(served_s) < 5

    share = Share("old")
    share.next_cost_us = 200
    loop.work(share, 0.01)
    scheduler.add(share, old)
    while len(served_s) < 5:
        for number in range(25):
            scheduler.add(Share(f"newcomer {number}"), newcomer)
        loop.iterate()
        assert loop.now_s < 10
    waits_s = [after - before for before, after in pairwise([0.0, *served_s])]
    assert max(waits_s) <= LONGEST_WAIT_S + 2 * BUDGET_S
    loop.until_idle()
    assert scheduler.num_waiting == 0


def test_work_at_once_is_paid_for_also_if_the_share_is_added_first(loop: SimulatedLoop) -> None:
    share = Share("one")

    def run() -> bool:
        loop.now_s += 0.001
        return False

    began_s = loop.now_s
    loop.now_s += 0.065
    loop.scheduler.add(share, run)
    loop.scheduler.used(share, began_s)
    loop.until_idle()
    assert share.finish_us >= 66_000


def test_an_iteration_is_bounded_however_many_wait(loop: SimulatedLoop) -> None:
    left = dict.fromkeys(range(100), 50)

    def run(number: int) -> bool:
        loop.now_s += QUANTUM_S
        left[number] -= 1
        return left[number] > 0

    for number in left:
        loop.scheduler.add(Share(str(number)), lambda number=number: run(number))  # type: ignore[misc]
    loop.until_idle()
    assert set(left.values()) == {0}
    assert max(loop.iterations_s) <= BUDGET_S + QUANTUM_S * 1.001


def test_long_work_of_one_share_leaves_an_iteration_after_a_slice(loop: SimulatedLoop) -> None:
    """Requests that arrive during the slice are still in their sockets."""
    step_s = QUANTUM_S / 5
    left = 1000

    def run() -> bool:
        nonlocal left
        began_s = loop.now_s
        while left and loop.now_s - began_s < QUANTUM_S:
            loop.now_s += step_s
            left -= 1
        return left > 0

    served_s: list[float] = []

    def short() -> bool:
        served_s.append(loop.now_s)
        return False

    loop.scheduler.add(Share("long"), run)
    while left:
        loop.scheduler.add(Share("short"), short)
        loop.iterate()
    # Two slices if the long one had the first turn, and the short one the second.
    longest_s = 2 * (QUANTUM_S + step_s)
    assert max(loop.iterations_s) <= longest_s
    assert max(later - earlier for earlier, later in pairwise(served_s)) <= longest_s
    assert not loop.scheduler.is_crowded


def test_two_shares_with_long_work_use_the_whole_budget(loop: SimulatedLoop) -> None:
    left = 100

    def run() -> bool:
        nonlocal left
        loop.now_s += QUANTUM_S
        left -= 1
        return left > 0

    for name in ("one", "other"):
        loop.scheduler.add(Share(name), run)
    loop.iterate()
    assert BUDGET_S <= loop.iterations_s[0] <= BUDGET_S + QUANTUM_S * 1.001


def test_a_task_goes_on_in_later_iterations(loop: SimulatedLoop) -> None:
    done: list[int] = []

    def steps() -> Iterator[int]:
        for number in range(200):
            loop.now_s += 0.0005
            done.append(number)
            yield 500

    loop.scheduler.run("a task", steps())
    loop.iterate()
    assert 0 < len(done) < 200
    loop.until_idle()
    assert done == list(range(200))


@pytest.mark.parametrize("num_tasks", [2, 59, 500])
def test_a_short_request_goes_before_tasks_whose_only_step_is_long(
    loop: SimulatedLoop, num_tasks: int
) -> None:
    served: list[str] = []

    def steps(name: str) -> Iterator[int]:
        loop.now_s += 0.005
        served.append(name)
        yield 1

    def read() -> bool:
        served.append("reader")
        return False

    reader = Share("reader")
    for number in range(num_tasks):
        loop.scheduler.run("mntr", steps(str(number)))
        if number == num_tasks // 2:
            loop.scheduler.add(reader, read)
    loop.until_idle()
    assert len(served) == num_tasks + 1
    assert served.index("reader") <= 1


def failing_steps() -> Iterator[int]:
    yield 1
    raise MemoryError


def test_a_task_that_fails_says_so_once_and_stops(loop: SimulatedLoop) -> None:
    failures: list[Exception] = []
    loop.scheduler.run("a task", failing_steps(), failures.append)
    loop.until_idle()
    assert [type(failure) for failure in failures] == [MemoryError]


def test_a_failure_that_nobody_expects_goes_to_the_event_loop(loop: SimulatedLoop) -> None:
    loop.scheduler.run("a task", failing_steps())
    with pytest.raises(MemoryError):
        loop.until_idle()


def test_after_a_stop_nothing_is_run(loop: SimulatedLoop) -> None:
    loop.scheduler.run("a task", failing_steps())
    loop.scheduler.stop()
    loop.until_idle()
    assert loop.scheduler.is_crowded


def test_a_long_iteration_is_logged_with_its_cause(
    loop: SimulatedLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    loop.work(Share("/127.0.0.1:5"), 0.15)
    loop.iterate()
    (message,) = caplog.messages
    assert "150 ms" in message
    assert "/127.0.0.1:5" in message


def test_the_watchdog_names_a_task(loop: SimulatedLoop, caplog: pytest.LogCaptureFixture) -> None:
    def steps() -> Iterator[int]:
        loop.now_s += 0.2
        yield 1

    loop.scheduler.run("closing expired sessions", steps())
    loop.until_idle()
    (message,) = caplog.messages
    assert message.endswith("took 200 ms; 200 ms of it went to closing expired sessions")


def test_the_watchdog_names_the_share_that_took_longest(
    loop: SimulatedLoop, caplog: pytest.LogCaptureFixture
) -> None:
    for name, work_s in (("short", 0.01), ("longest", 0.07), ("long", 0.05)):
        loop.work(Share(name), work_s)
    loop.iterate()
    (message,) = caplog.messages
    assert message.endswith("took 130 ms; 70 ms of it went to longest")


def test_the_watchdog_forgets_who_took_longest_in_an_earlier_iteration(
    loop: SimulatedLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.work(Share("earlier"), 0.09)
    loop.iterate()
    assert not caplog.messages
    for name in ("one", "two"):
        loop.work(Share(name), 0.06)
    loop.iterate()
    (message,) = caplog.messages
    assert message.endswith("took 120 ms; 60 ms of it went to one")


@pytest.mark.parametrize(
    ("op_code", "named"),
    [(OpCode.MULTI.value, "MULTI"), (OpCode.PING.value, "PING"), (4711, "4711")],
)
def test_the_watchdog_names_the_last_request(
    loop: SimulatedLoop, caplog: pytest.LogCaptureFixture, op_code: int, named: str
) -> None:
    share = Share("/127.0.0.1:5")
    share.op_code = op_code
    loop.work(share, 0.15)
    loop.iterate()
    (message,) = caplog.messages
    assert message.endswith(f"went to /127.0.0.1:5 (last request: {named})")


def test_the_watchdog_reports_at_most_once_a_second(
    loop: SimulatedLoop, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(17):
        loop.work(Share("one"), 0.125)
        loop.iterate()
    assert len(caplog.messages) == 3
    assert caplog.messages[-1].endswith("(7 more of these messages were left out)")


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_done_and_nobody_gets_much_more_than_others(seed: int) -> None:
    """Shares that always have work get the same time, up to their longest slices.

    A slice that was estimated too low may be put off by the budget.
    """
    chance = random.Random(seed)
    loop = SimulatedLoop()
    used_s = dict.fromkeys(range(chance.randrange(2, 30)), 0.0)
    longest_s = 0.0
    is_over = False

    def run(number: int) -> bool:
        nonlocal longest_s
        spent_s = chance.choice((0.0001, 0.001, 0.001, 0.005, 0.05))
        loop.now_s += spent_s
        used_s[number] += spent_s
        longest_s = max(longest_s, spent_s)
        return not is_over

    for number in used_s:
        loop.scheduler.add(Share(str(number)), lambda number=number: run(number))  # type: ignore[misc]
    while loop.now_s < 20:
        loop.iterate()
        assert loop.iterations_s[-1] <= BUDGET_S + 2 * longest_s + 1e-9
    assert max(used_s.values()) - min(used_s.values()) <= 2 * longest_s + BUDGET_S
    is_over = True
    loop.until_idle()
    assert loop.scheduler.num_waiting == 0
