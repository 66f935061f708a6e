"""The pages of servers, sessions and quotas on an ensemble of Apache ZooKeeper."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.ensemble import ApacheEnsemble
from tests.support.waiting import wait_until
from tests.support.web import browsing, settings_of, users_file
from zoolet.client import Client, CreateMode


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
            pages: list[dict[str, Any]] = []

            def modes() -> list[str]:
                pages.append(web.get("/c/local/server"))
                return sorted(str(one["mode"]) for one in pages[-1]["servers"])

            wait_until(lambda: modes() == ["follower", "follower", "leader"], "all servers")
            page = pages[-1]
            assert [one["id"] for one in page["members"]] == [1, 2, 3]
            (led,) = [one for one in page["servers"] if one["mode"] == "leader"]
            assert ["synced followers", 2.0] in led["of_leader"]
            assert all(one["lag"] is not None for one in page["servers"])
            assert not any(one["problem"] for one in page["servers"])

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

            web.post("/c/local/quota", {"path": "/app", "version": "", "count": 4})
            (quota,) = web.get("/c/local/quotas")["quotas"]
            assert (quota["path"], quota["share"]) == ("/app", 0.5)
            removed = {"path": "/app", "version": quota["version"], "remove": "yes"}
            web.post("/c/local/quota", removed)
            assert web.get("/c/local/quotas")["total"] == 0

            follower.kill()
            wait_until(lambda: modes() == ["None", "follower", "leader"], "the others answer")
