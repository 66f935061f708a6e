"""The recipes that kazoo and zoolet write on Apache ZooKeeper are recognised."""

from pathlib import Path

from kazoo.client import KazooClient

from tests.support.web import browsing, settings_of
from zoolet.client import Client
from zoolet.testing import ApacheServer


def test_recipes_of_kazoo_and_zoolet(apache_jars: Path, tmp_path: Path) -> None:
    with (
        ApacheServer(tmp_path / "server", jars=apache_jars) as server,
        Client(server.hosts) as zk,
        browsing(settings_of(server.hosts)) as web,
    ):
        kazoo = KazooClient(server.hosts)
        kazoo.start()
        try:
            kazoo.Lock("/k/lock", "ann").acquire()
            kazoo.Semaphore("/k/semaphore", "bob", max_leases=3).acquire()
            kazoo.Party("/k/party", "zoe").join()
            kazoo.LockingQueue("/k/queue").put(b"value")
            zk.counter("/k/counter").add(5)
            with zk.read_lock("/k/rw", "reader"):
                listed = web.get("/c/local/recipes?path=/k")["result"]
            kinds = {recipe["path"]: recipe["kind"] for recipe in listed["recipes"]}
            assert kinds == {
                "/k/lock": "lock or election",
                "/k/semaphore": "semaphore",
                "/k/party": "party",
                "/k/queue": "locking queue",
                "/k/counter": "counter",
                "/k/rw": "read-write lock",
            }
            found = web.get("/c/local/recipes/one?path=/k/semaphore")
            assert found["recipe"]["members"][0]["text"] == "bob"
        finally:
            kazoo.stop()
            kazoo.close()
