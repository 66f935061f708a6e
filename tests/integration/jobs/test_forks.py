"""A process that was forked from one with a connection: a clear error, and no harm to the parent.

The programs run in processes of their own: a fork of pytest would have its threads' locks.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import ROOT, TIMEOUT_S

HEAD = '''
import gc, multiprocessing, os, sys, traceback
from zoolet.jobs import Dispatcher, ForkedError, JobQueue, JobRequest, Worker

HOSTS, ROOT = sys.argv[1:3]


def in_child(work):
    """Run work in a forked child, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def refuses(call):
    try:
        call()
    except ForkedError as error:
        assert "Create a new Dispatcher" in str(error), error
    else:
        raise AssertionError("the call was not refused")


def session(dispatcher):
    return dispatcher.queue._znodes._link.session_id
'''

EVERY_CALL = """
dispatcher = Dispatcher(HOSTS, ROOT, create=True)
batch = dispatcher.submit_batch([JobRequest("m:f", "d", "1")], name="night")
before = session(dispatcher)


def child():
    refuses(lambda: dispatcher.submit("m:f", "d", "2"))
    refuses(lambda: dispatcher.submit_batch([JobRequest("m:f", "d", "3")]))
    refuses(lambda: dispatcher.batch("night"))
    refuses(lambda: dispatcher.job(batch.names[0]))
    refuses(lambda: batch.next_result())
    refuses(lambda: next(batch.results()))
    refuses(lambda: batch.progress())
    refuses(lambda: batch.cancel())
    refuses(lambda: dispatcher.queue.counts())
    refuses(lambda: list(dispatcher.queue.jobs()))
    dispatcher.close()
    globals().pop("dispatcher"), globals().pop("batch")
    gc.collect()


for _ in range(3):
    assert in_child(child) == 0
assert dispatcher.submit("m:f", "d", "4").names
assert session(dispatcher) == before
dispatcher.close()
print("good")
"""

PRE_FORK = """
# As a server that loads its program first and forks its workers then.
dispatcher = Dispatcher(HOSTS, ROOT, create=True)
assert dispatcher.queue.register("parent")
before = session(dispatcher)


def serve(number):
    try:
        dispatcher.submit("m:f", "d", "0")
    except ForkedError:
        with Dispatcher(HOSTS, ROOT) as own:
            own.submit("m:f", "d", str(number), {"n": number})
            # A job that nobody runs: the wait ends in time.
            assert own.submit("m:f", "d", str(number), {"n": -1}).next_result(0.05) is None
    else:
        raise AssertionError("it was not refused")


children = [multiprocessing.get_context("fork").Process(target=serve, args=(n,)) for n in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
assert [child.exitcode for child in children] == [0, 0, 0]
# A child that ends in the ordinary way runs what is registered with atexit.
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert dispatcher.queue.workers() == ["parent"]
assert session(dispatcher) == before
assert sorted(job.groupid for job in dispatcher.queue.jobs()) == ["0", "0", "1", "1", "2", "2"]
dispatcher.close()
print("good")
"""

WORKER = """
worker = Worker(HOSTS, ROOT, threads=THREADS)
not_started = Worker(HOSTS, ROOT, threads=THREADS)
worker.start()
name = worker.worker_id


def child():
    refuses(worker.wait)
    refuses(worker.queue.counts)
    worker.stop()
    with not_started:
        assert not_started.worker_id in not_started.queue.workers()


assert in_child(child) == 0
with Dispatcher(HOSTS, ROOT) as dispatcher:
    job = dispatcher.submit("json:dumps", "d", "1", max_attempts=1).next_result(30)
    assert job is not None and name in dispatcher.queue.workers()
worker.stop()
print("good")
"""


@pytest.mark.parametrize(
    "program",
    [
        EVERY_CALL,
        PRE_FORK,
        WORKER.replace("THREADS", "True"),
        WORKER.replace("THREADS", "False"),
    ],
    ids=["every-call", "pre-fork", "worker-threads", "worker-processes"],
)
def test_a_forked_child(server: Any, tmp_path: Path, program: str) -> None:
    path = tmp_path / "program.py"
    path.write_text(HEAD + program)
    completed = subprocess.run(
        [sys.executable, str(path), server.hosts, ROOT],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert completed.stdout.endswith("good\n"), completed.stdout + completed.stderr
