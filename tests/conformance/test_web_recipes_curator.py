"""The recipes that Curator itself writes on Apache ZooKeeper are recognised."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.support.java_gateway import java, require_gateway
from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of, users_file
from zoolet.client import Client
from zoolet.testing import ApacheServer
from zoolet.web.recipes.names import name_of

WAIT_S = 60


class Stage(NamedTuple):
    """A server, the page, and the classes of Java with a client of Curator.

    Attributes:
        recipes: the package with Curator's recipes.
        seconds: Java's unit of time.
    """

    web: Browser
    zk: Client
    classes: Any
    curator: Any
    recipes: Any
    seconds: Any

    def one(self, path: str) -> Any:
        found = self.web.get(f"/c/local/recipes/one?path={quote(path)}")
        return found["recipe"]

    def has_children(self, path: str, count: int) -> None:
        def has_them() -> bool:
            return self.zk.exists(path) is not None and len(self.zk.children(path).names) == count

        wait_until(has_them, f"{count} children of {path}")


@pytest.fixture(scope="module")
def stage(apache_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    require_gateway(apache_jars)
    directory = tmp_path_factory.mktemp("recipes")
    with ApacheServer(directory / "server", jars=apache_jars) as server:
        settings = settings_of(server.hosts, users_file=users_file(directory), allows_changes=True)
        with (
            Client(server.hosts) as zk,
            browsing(settings) as web,
            java(apache_jars, []) as classes,
        ):
            package = classes.org.apache.curator
            retry = package.retry.RetryOneTime(1000)
            client = package.framework.CuratorFrameworkFactory.newClient(server.hosts, retry)
            client.start()
            seconds = classes.java.util.concurrent.TimeUnit.SECONDS
            recipes = package.framework.recipes
            yield Stage(web.log_in("ed"), zk, classes, client, recipes, seconds)
            client.close()


@contextmanager
def on_thread(function: Callable[[], Any]) -> Iterator[None]:
    """Call a function on a thread, so on another thread of Java; wait for its end."""
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(function)
        yield
        ended.result(WAIT_S)


def holds(recipe: Any) -> list[Any]:
    return [member for member in recipe["members"] if member["state"] == "holds"]


def waits(recipe: Any) -> list[Any]:
    return [member for member in recipe["members"] if member["state"] == "waits"]


def test_a_mutex_of_curator_is_recognised_and_broken(stage: Stage) -> None:
    first = stage.recipes.locks.InterProcessMutex(stage.curator, "/c/mutex")
    second = stage.recipes.locks.InterProcessMutex(stage.curator, "/c/mutex")
    first.acquire()

    def wait() -> None:
        assert second.acquire(WAIT_S, stage.seconds)
        second.release()

    with on_thread(wait):
        stage.has_children("/c/mutex", 2)
        found = stage.one("/c/mutex")
        assert found["title"] == "lock or election of Curator"
        assert (len(holds(found)), len(waits(found))) == (1, 1)
        holder = holds(found)[0]
        assert holder["address"]  # Curator's default data
        assert holder["host"].startswith("127.0.0.1:")
        sent = {name: holder[name] for name in ("czxid", "version")}
        sent |= {"path": "/c/mutex", "znode": holder["path"]}
        assert stage.web.post("/c/local/recipes/break", sent) == {"deleted": holder["path"]}


def test_a_read_write_lock_of_curator(stage: Stage) -> None:
    lock = stage.recipes.locks.InterProcessReadWriteLock(stage.curator, "/c/rw")
    lock.writeLock().acquire()
    lock.readLock().acquire()  # the holder of the write lock may also read
    found = stage.one("/c/rw")
    assert found["title"] == "read-write lock of Curator"
    assert [member["role"] for member in holds(found)] == ["writer", "reader"]
    assert len({member["sequence"] for member in holds(found)}) == 1
    lock.writeLock().release()

    def write() -> None:
        other = stage.recipes.locks.InterProcessReadWriteLock(stage.curator, "/c/rw").writeLock()
        assert other.acquire(WAIT_S, stage.seconds)
        other.release()

    with on_thread(write):
        stage.has_children("/c/rw", 2)
        found = stage.one("/c/rw")
        assert [member["role"] for member in holds(found)] == ["reader"]
        assert [member["role"] for member in waits(found)] == ["writer"]
        stage.zk.delete(holds(found)[0]["path"])  # its thread of Java may serve others now


def test_a_leader_latch_of_curator(stage: Stage) -> None:
    latches = [
        stage.recipes.leader.LeaderLatch(stage.curator, "/c/latch", name) for name in ("one", "two")
    ]
    latches[0].start()
    stage.has_children("/c/latch", 1)
    latches[1].start()
    stage.has_children("/c/latch", 2)
    found = stage.one("/c/latch")
    assert found["title"] == "leader latch of Curator"
    assert [member["text"] for member in holds(found)] == [latches[0].getLeader().getId()]
    assert [member["text"] for member in waits(found)] == ["two"]
    for latch in latches:
        latch.close()


def test_a_semaphore_of_curator(stage: Stage) -> None:
    make = stage.recipes.locks.InterProcessSemaphoreV2
    semaphore = make(stage.curator, "/c/semaphore", 1)
    lease = semaphore.acquire()

    def wait() -> None:
        other = make(stage.curator, "/c/semaphore", 1)
        found = other.acquire(WAIT_S, stage.seconds)
        assert found is not None
        other.returnLease(found)

    with on_thread(wait):
        stage.has_children("/c/semaphore/leases", 2)
        found = stage.one("/c/semaphore")
        assert found["title"] == "semaphore of Curator"
        assert [member["sequence"] for member in holds(found)] == [0]
        assert [member["sequence"] for member in waits(found)] == [1]
        semaphore.returnLease(lease)


def test_a_double_barrier_of_curator(stage: Stage) -> None:
    make = stage.recipes.barriers.DistributedDoubleBarrier
    first, second = (make(stage.curator, "/c/barrier", 2) for _ in range(2))

    def enter_and_leave() -> None:
        assert first.enter(WAIT_S, stage.seconds)
        first.leave()

    with on_thread(enter_and_leave):
        stage.has_children("/c/barrier", 1)
        found = stage.one("/c/barrier")
        assert found["title"] == "probably a double barrier of Curator"
        assert len(waits(found)) == 1
        assert second.enter(WAIT_S, stage.seconds)
        found = stage.one("/c/barrier")
        assert found["title"] == "double barrier of Curator"
        assert found["num_members"] in {1, 2}  # the other one may have left
        second.leave()


def test_queues_of_curator(stage: Stage) -> None:
    stage.recipes.queue.SimpleDistributedQueue(stage.curator, "/c/simple").offer(b"value")
    found = stage.one("/c/simple")
    assert found["title"] == "queue of Curator"
    assert found["members"][0]["text"] == "value"
    load = stage.classes.java.lang.Class.forName
    package = "org.apache.curator.framework.recipes.queue"
    for name, number in (("priorityToString", 7), ("priorityToString", -7)):
        queue = load(f"{package}.DistributedPriorityQueue")
        made = called(stage, queue, name, stage.classes.java.lang.Integer.TYPE, number)
        known = name_of(f"queue-{made}0000000003")
        assert known is not None
        assert (known.priority, known.sequence) == (number, 3)
    due_ms = 1_796_000_000_000
    queue = load(f"{package}.DistributedDelayQueue")
    long = stage.classes.java.lang.Long.TYPE
    made = called(stage, queue, "epochToString", long, due_ms)
    known = name_of(f"queue-{made}0000000003")
    assert known is not None
    assert known.due_ms == due_ms


def called(stage: Stage, kind: Any, name: str, parameter: Any, value: int) -> str:
    """Return the result of a static method that only Curator's own tests may call."""
    lang = stage.classes.java.lang
    types = stage.classes.java.lang.reflect.Array.newInstance(
        lang.Class.forName("java.lang.Class"), 1
    )
    stage.classes.java.lang.reflect.Array.set(types, 0, parameter)
    method = kind.getDeclaredMethod(name, types)
    method.setAccessible(True)
    values = stage.classes.java.lang.reflect.Array.newInstance(lang.Object._java_lang_class, 1)
    stage.classes.java.lang.reflect.Array.set(values, 0, value)
    return str(method.invoke(None, values))


def test_what_curator_writes_without_a_form_of_its_own_is_no_recipe(stage: Stage) -> None:
    member = stage.recipes.nodes.GroupMember(stage.curator, "/c/group", "host-1")
    member.start()
    stage.has_children("/c/group", 1)
    stage.web.get("/c/local/recipes/one?path=/c/group", 404)
    member.close()
    count = stage.recipes.shared.SharedCount(stage.curator, "/c/count", 7)
    count.start()
    stage.web.get("/c/local/recipes/one?path=/c/count", 404)
    count.close()
    barrier = stage.recipes.barriers.DistributedBarrier(stage.curator, "/c/plain")
    barrier.setBarrier()
    stage.web.get("/c/local/recipes/one?path=/c/plain", 404)
