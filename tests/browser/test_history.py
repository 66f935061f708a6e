"""The past in a real browser, from a data directory and from an archive: changes, two moments."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Serve, plain_on_both, wait_for_page
from tests.support.web import settings_of
from zoolet.client import Client
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.settings import PastSource

TIMEOUT_S = 100


def archived(data_dir: Path, place: Path) -> PastSource:
    """Archive a data directory as it is now."""
    command = [sys.executable, "-m", "zoolet", "archive", "--from-dir", str(data_dir)]
    subprocess.run([*command, "--to", str(place), "--once"], check=True, timeout=TIMEOUT_S)
    return PastSource(str(place), is_archive=True)


@plain_on_both
@pytest.mark.parametrize("kind", ["data directory", "archive"])
def test_older_changes_and_two_moments(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path, kind: str
) -> None:
    path = f"/past-of-{kind.split(maxsplit=1)[0]}"  # the server keeps the past of other tests
    first = zk.create(path, b"one").stat.czxid
    zk.set(path, b"two")
    zk.create(f"{path}/<b>", b"made")
    zk.delete(f"{path}/<b>")
    source = PastSource(str(server.config.data_dir), is_archive=False)
    if kind == "archive":
        source = archived(server.config.data_dir, tmp_path / "archive")
    tab.goto(
        f"{serve(settings_of(server.hosts, past={'local': source}))}/c/local/changes?path={path}"
    )
    tab.get_by_role("link", name="Older changes").click()
    wait_for_page(tab, f"Older changes of {path}")
    tab.get_by_text(f"4 changes from the {kind}").wait_for()
    shown = tab.locator(".changes .kind").all_inner_texts()
    assert shown == ["Deleted", "Created", "Data set", "Created"]
    changed = tab.locator(".changes li").nth(2)
    assert changed.get_by_label("Before").inner_text() == "one"
    assert changed.get_by_label("After").inner_text() == "two"
    tab.get_by_role("link", name="Compare two moments").click()
    tab.get_by_label("From").fill(f"{first:#x}")
    tab.get_by_label("To").fill("now")
    tab.get_by_role("button", name="Compare").click()
    tab.get_by_text("1 znode differs").wait_for()
    tab.get_by_role("row", name="one two").wait_for()
