"""Every public call ends when the server does not answer: it is down, frozen, or silent."""

import inspect
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, all_results, numbered
from tests.support.proxy import Proxy
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import (
    TIMEOUT_S,
    Batch,
    DisconnectedError,
    Dispatcher,
    JobQueue,
    JobRequest,
    JobState,
    JobTimeoutError,
    Worker,
)

SHORT_S = 0.1


@pytest.fixture
def dispatcher(server: Any) -> Iterator[Dispatcher]:
    with Dispatcher(server.hosts, ROOT, create=True) as dispatcher:
        yield dispatcher


def calls_of(dispatcher: Dispatcher, batch: Batch) -> dict[str, Callable[[], Any]]:
    """Return calls that talk to the server, each with a short timeout."""
    queue, request = dispatcher.queue, numbered(1)[0]
    [name] = batch.names
    job = queue.find(name)
    return {
        "submit": lambda: dispatcher.submit("m:f", "d", "1", timeout_s=SHORT_S),
        "submit_batch": lambda: dispatcher.submit_batch([request], timeout_s=SHORT_S),
        "batch": lambda: dispatcher.batch("night", timeout_s=SHORT_S),
        "job": lambda: dispatcher.job(name, timeout_s=SHORT_S),
        "progress": lambda: batch.progress(timeout_s=SHORT_S),
        "cancel": lambda: batch.cancel(timeout_s=SHORT_S),
        "next_result": lambda: batch.next_result(server_timeout_s=SHORT_S),
        "results": lambda: list(batch.results(server_timeout_s=SHORT_S)),
        "results in time": lambda: list(batch.results(SHORT_S)),
        "values": lambda: list(batch.values(server_timeout_s=SHORT_S)),
        "reduce": lambda: batch.reduce(lambda a, _: a, 0, server_timeout_s=SHORT_S),
        "ensure_layout": lambda: queue.ensure_layout(timeout_s=SHORT_S),
        "check": lambda: queue.check(timeout_s=SHORT_S),
        "configure": lambda: queue.configure(keep_done_jobs=1, timeout_s=SHORT_S),
        "pause": lambda: queue.pause(timeout_s=SHORT_S),
        "find": lambda: queue.find(name, timeout_s=SHORT_S),
        "waiting": lambda: queue.waiting(timeout_s=SHORT_S),
        "worker_reports": lambda: queue.worker_reports(timeout_s=SHORT_S),
        "owned": lambda: queue.owned(timeout_s=SHORT_S),
        "done": lambda: queue.done(timeout_s=SHORT_S),
        "jobs": lambda: list(queue.jobs(timeout_s=SHORT_S)),
        "counts": lambda: queue.counts(timeout_s=SHORT_S),
        "states": lambda: queue.states(timeout_s=SHORT_S),
        "queue.submit": lambda: queue.submit([request], timeout_s=SHORT_S),
        "register": lambda: queue.register("w", timeout_s=SHORT_S),
        "own_job": lambda: queue.own_job(name, "w", timeout_s=SHORT_S),
        "own_jobs": lambda: queue.own_jobs([name], "w", timeout_s=SHORT_S),
        "finish": lambda: queue.finish(job, 1, timeout_s=SHORT_S),
        "retry": lambda: queue.retry(name, timeout_s=SHORT_S),
        "return": lambda: queue.return_jobs_of_dead_workers(timeout_s=SHORT_S),
    }


def assert_all_time_out(dispatcher: Dispatcher, batch: Batch, calls: dict[str, Any]) -> None:
    for name, call in calls.items():
        with pytest.raises(JobTimeoutError) as caught:
            call()
        assert isinstance(caught.value, TimeoutError), name
    assert batch.next_result(SHORT_S) is None
    dispatcher.close(timeout_s=SHORT_S)


def test_every_call_ends_while_the_server_is_down(server: Any, dispatcher: Dispatcher) -> None:
    batch = dispatcher.submit_batch(numbered(1), name="night")
    calls = calls_of(dispatcher, batch)
    server.kill()
    assert_all_time_out(dispatcher, batch, calls)


def test_every_call_ends_while_the_server_is_frozen(server: Any, dispatcher: Dispatcher) -> None:
    batch = dispatcher.submit_batch(numbered(1), name="night")
    calls = calls_of(dispatcher, batch)
    server.pause()
    try:
        assert_all_time_out(dispatcher, batch, calls)
    finally:
        server.resume()


def test_every_call_ends_while_no_reply_arrives(server: Any, dispatcher: Dispatcher) -> None:
    assert dispatcher.queue.counts()
    with Proxy(server.port) as proxy:
        other = Dispatcher(proxy.hosts, ROOT)
        batch = other.submit_batch(numbered(1), name="night")
        calls = calls_of(other, batch)
        with proxy.replies_held():
            assert_all_time_out(other, batch, calls)


def test_a_job_that_was_not_sent_is_not_submitted_later(
    server: Any, dispatcher: Dispatcher
) -> None:
    server.kill()
    wait_until(lambda: not dispatcher.queue._znodes._link.is_connected, "the loss")
    with pytest.raises(JobTimeoutError, match="Nothing was changed") as caught:
        dispatcher.submit("m:f", "d", "1", timeout_s=SHORT_S)
    assert not caught.value.is_outcome_unknown
    server.start()
    assert dispatcher.queue.counts()["unowned"] == 0
    assert dispatcher.submit("m:f", "d", "1").names


def test_an_unknown_outcome_is_said_to_be_unknown(server: Any, dispatcher: Dispatcher) -> None:
    batch = dispatcher.submit_batch(numbered(1))
    server.pause()
    try:
        for call, text in (
            (lambda: dispatcher.submit("m:f", "d", "1", timeout_s=SHORT_S),
             "the job may have been submitted"),
            (lambda: dispatcher.submit_batch(numbered(3), name="b", timeout_s=SHORT_S),
             "jobs of the batch b may have been submitted"),
            (lambda: dispatcher.queue.pause(timeout_s=SHORT_S), "Nothing was changed"),
            (lambda: batch.progress(timeout_s=SHORT_S), "Is it running"),
        ):  # fmt: skip
            with pytest.raises(JobTimeoutError, match=text) as caught:
                call()
            assert caught.value.is_outcome_unknown == ("may have" in text)
            assert ("outcome is unknown" in str(caught.value)) == ("may have" in text)
    finally:
        server.resume()
    # The request was on its way: the server does it when it goes on.
    wait_until(lambda: dispatcher.queue.counts()["unowned"] >= 2, "the job that was on its way")


def test_results_come_after_an_outage(
    server: Any, dispatcher: Dispatcher, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_tasks.py").write_text("def f(group, parameters): return parameters['n']\n")
    monkeypatch.syspath_prepend(tmp_path)
    batch = dispatcher.submit_batch(
        [JobRequest("some_tasks:f", "d", str(n), {"n": n}) for n in range(5)]
    )
    server.kill()
    for _ in range(3):
        with pytest.raises(JobTimeoutError):
            batch.next_result(server_timeout_s=SHORT_S)
    server.start()
    with Worker(server.hosts, ROOT):
        assert sorted(job.result for job in all_results(batch)) == list(range(5))


def test_a_call_without_a_limit_waits_for_the_server(server: Any, dispatcher: Dispatcher) -> None:
    server.kill()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(dispatcher.submit, "m:f", "d", "1", timeout_s=None)
        with pytest.raises(JobTimeoutError):
            dispatcher.queue.check(timeout_s=SHORT_S)
        assert not waiting.done()
        server.start()
        assert waiting.result(WAIT_S).names


def test_closing_ends_the_calls_of_other_threads(server: Any, dispatcher: Dispatcher) -> None:
    server.kill()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(dispatcher.submit, "m:f", "d", "1", timeout_s=None)
        dispatcher.close()
        with pytest.raises(DisconnectedError, match="Create a new connection"):
            waiting.result(WAIT_S)
    with pytest.raises(DisconnectedError):
        dispatcher.submit("m:f", "d", "1", timeout_s=None)


def test_a_client_that_was_never_started_is_an_error_at_once() -> None:
    with pytest.raises(DisconnectedError, match="never started"):
        Dispatcher(KazooClient(hosts="127.0.0.1:1"), ROOT)


def test_a_worker_stops_while_its_server_is_down(server: Any, dispatcher: Dispatcher) -> None:
    assert dispatcher.queue.counts()
    worker = Worker(server.hosts, ROOT, threads=True, session_timeout_ms=1000)
    worker.start()
    server.kill()
    worker.stop(0)
    worker.wait()


def test_every_public_call_has_a_timeout() -> None:
    local = {
        Dispatcher: set[str](),
        Batch: {"count"},
        JobQueue: set[str](),
    }
    for kind, without in local.items():
        for name, member in vars(kind).items():
            function = member.__func__ if isinstance(member, classmethod) else member
            if name.startswith("_") or not inspect.isfunction(function) or name in without:
                continue
            parameters = inspect.signature(function).parameters
            assert "timeout_s" in parameters, f"{kind.__name__}.{name}"
            limit = parameters.get("server_timeout_s", parameters["timeout_s"])
            assert limit.default is not None, f"{kind.__name__}.{name}"
            assert limit.default in {TIMEOUT_S, 10.0}


@pytest.mark.parametrize("seed", range(3))
def test_calls_end_whatever_the_network_does(
    server: Any, dispatcher: Dispatcher, seed: int
) -> None:
    """Model: a job whose submission was confirmed is in the queue; no other key is there twice."""
    chance = random.Random(seed)
    confirmed, unknown, refused = set[str](), set[str](), set[str]()
    with Proxy(server.port) as proxy, Dispatcher(proxy.hosts, ROOT) as client:

        def trouble() -> None:
            with chance.choice([proxy.cut_off, proxy.replies_lost, proxy.replies_held])():
                threading.Event().wait(chance.random() / 5)

        for number in range(30):
            key = f"{seed}-{number}"
            thread = threading.Thread(target=trouble)
            if chance.random() < 0.5:
                thread.start()
            try:
                client.submit("m:f", "d", key, timeout_s=chance.choice([0.01, 0.1, 1]))
                confirmed.add(key)
            except JobTimeoutError as error:
                (unknown if error.is_outcome_unknown else refused).add(key)
            if thread.ident is not None:
                thread.join()
        client.close(timeout_s=SHORT_S)
    found = [job.groupid for job in dispatcher.queue.jobs()]
    assert len(found) == len(set(found))
    assert confirmed <= set(found)
    assert not refused & set(found)
    assert set(found) <= confirmed | unknown
    assert all(job.state is JobState.PENDING for job in dispatcher.queue.jobs())
