"""An ensemble in a real browser: a leader of Apache ZooKeeper with an observer of zoolet."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Serve
from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.web import settings_of


def test_the_members_the_leader_and_the_lag(
    tab: Any, serve: Serve, apache_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.2)
    with (
        ApacheEnsemble(tmp_path / "ensemble", apache_jars, 128, count=1) as ensemble,
        new_observer(tmp_path / "observer", ensemble, 101) as observer,
    ):
        hosts = f"{ensemble.hosts},{observer.hosts}"
        tab.goto(f"{serve(settings_of(hosts))}/c/local/server")
        figures = tab.locator("#figures")
        figures.get_by_role("row", name="Mode leader observer").wait_for()
        figures.get_by_role("row", name="Lag, txns behind the newest 0 0").wait_for()
        figures.get_by_text("synced observers: 1").wait_for()
        tab.get_by_role("row", name="server.1 participant").wait_for()
        observer.kill()
        figures.get_by_role("row", name="Mode leader no answer").wait_for()
        figures.get_by_text(f"{observer.hosts} cannot be reached").wait_for()
