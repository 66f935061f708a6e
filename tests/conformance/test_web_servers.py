"""The pages of servers, sessions and quotas on an ensemble of Apache ZooKeeper."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.ensemble import ApacheEnsemble
from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of, users_file
from zoolet.client import Client, CreateMode


def modes_of(page: dict[str, Any]) -> list[str]:
    return sorted(str(one["mode"]) for one in page["servers"])


def is_complete(page: dict[str, Any]) -> bool:
    """Return whether a page has all figures of all servers: each has samples of its own."""
    servers = page["servers"]
    led = [one["of_leader"] for one in servers if one["mode"] == "leader"]
    return (
        modes_of(page) == ["follower", "follower", "leader"]
        and ["synced followers", 2.0] in led[0]
        and all(one["lag"] is not None for one in servers)
        and not any(one["problem"] for one in servers)
    )


def page_with(web: Browser, what: str, condition: Callable[[dict[str, Any]], bool]) -> Any:
    """Return the first page of the servers that meets a condition."""
    pages: list[dict[str, Any]] = []

    def look() -> bool:
        pages.append(web.get("/c/local/server"))
        return condition(pages[-1])

    wait_until(look, what)
    return pages[-1]


def check_quota(web: Browser) -> None:
    """Set the quota of /app, which has two znodes, and remove it again."""
    web.post("/c/local/quota", {"path": "/app", "version": "", "count": 4})

    def quotas() -> list[tuple[str, float]]:
        found = web.get("/c/local/quotas")["quotas"]
        return [(one["path"], one["share"]) for one in found]

    # The page may be connected to a server that has not applied all writes of the client.
    wait_until(lambda: quotas() == [("/app", 0.5)], "the quota with both znodes")
    (quota,) = web.get("/c/local/quotas")["quotas"]
    web.post("/c/local/quota", {"path": "/app", "version": quota["version"], "remove": "yes"})
    assert web.get("/c/local/quotas")["total"] == 0


def test_the_pages_work_on_an_ensemble(
    apache_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.2)
    monkeypatch.setattr("zoolet.web.servers.sessions.FRESH_S", 0.0)
    with ApacheEnsemble(tmp_path, apache_jars, 128) as ensemble:
        leader = ensemble.leader()
        follower = next(member for member in ensemble.members if member is not leader)
        settings = settings_of(ensemble.hosts, users_file=users_file(tmp_path), allows_changes=True)
        with browsing(settings) as web, Client(follower.hosts) as zk:
            web.log_in("ed")
            page = page_with(web, "all figures of all servers", is_complete)
            assert [one["id"] for one in page["members"]] == [1, 2, 3]

            zk.create("/app")
            zk.create("/app/e", mode=CreateMode.EPHEMERAL)
            stat = zk.exists("/app/e")
            assert stat is not None
            zk.add_watch("/app", lambda _: None)
            name = f"{stat.ephemeral_owner % (1 << 64):#x}"
            found = web.get(f"/c/local/sessions/{name}")
            assert found["session"]["server"] == follower.hosts
            assert found["ephemerals"]["paths"] == [{"path": "/app/e", "in_tree": "/app/e"}]
            assert found["watches"]["paths"] == [{"path": "/app", "in_tree": "/app"}]
            assert found["problems"] == []
            listed = web.get("/c/local/sessions")
            assert listed["sessions"][0]["id"] == name
            assert sum(one["watches"] for one in listed["watches"]) >= 1
            check_quota(web)

            follower.kill()
            others = ["None", "follower", "leader"]
            page_with(web, "the others answer", lambda page: modes_of(page) == others)
