"""Data in a real browser: text, JSON that folds, hex; formats that a save keeps."""

import base64
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam

from tests.browser.conftest import Serve, log_in, on_both, wait_for_page
from tests.support.waiting import wait_until
from tests.support.web import settings_of, users_file
from zoolet.client import Client
from zoolet.testing.servers.base import ManagedServer

OLD, NEW = "first line\nüber <b>", "second line\n\u05d0\u05d1\u05d2"
GZIP = gzip.compress(OLD.encode(), mtime=7)  # the page itself writes no time
STORED: dict[str, bytes] = {
    "gzip": GZIP,
    "zstd": bytes(cramjam.zstd.compress(OLD.encode(), level=1)),
    "snappy": bytes(cramjam.snappy.compress(OLD.encode())),
    "base64": base64.b64encode(OLD.encode()) + b"\n",
    "base64, then gzip": base64.b64encode(GZIP),
}
"""What the page calls a format, and data in this format."""

DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": lambda data: bytes(cramjam.zstd.decompress(data)),
    "snappy": lambda data: bytes(cramjam.snappy.decompress(data)),
    "base64": base64.b64decode,
}


def save(tab: Any, zk: Client, path: str, text: str | None) -> bytes:
    """Save the data of the page, edited if there is a text; return what the server then has."""
    version = zk.get(path).stat.version
    tab.get_by_text("Edit", exact=True).click()
    if text is not None:
        tab.get_by_label("New data").fill(text)
    tab.get_by_role("button", name="Save in local").click()
    wait_until(lambda: zk.get(path).stat.version == version + 1, "the data is saved")
    return zk.get(path).data or b""


@on_both
def test_formats_are_decoded_and_kept_by_a_save(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    url = serve(settings)
    tab.goto(f"{url}/c/local/tree")
    log_in(tab)
    wait_for_page(tab, "/")
    for name, stored in STORED.items():
        path = f"/{name}"
        zk.create(path, stored)
        for text in (None, NEW):
            tab.goto(f"{url}/c/local/tree?path={path}")
            tab.get_by_text(f"decoded: {name}", exact=True).wait_for()
            assert tab.get_by_label("Data as text").inner_text() == OLD
            saved = save(tab, zk, path, text)
            if text is None:
                assert saved == stored
        content = saved
        for layer in name.split(", then "):
            content = DECODE[layer](content)
        assert content.decode() == NEW
        tab.locator("#data").get_by_text("second line").wait_for()


@on_both
def test_text_json_and_hex(tab: Any, serve: Serve, server: ManagedServer, zk: Client) -> None:
    zk.create("/json", '{"name": "\u05d0 <b>", "of": {"inner": [1, 2]}}'.encode())
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/json")
    shown = tab.get_by_label("Data as JSON")
    assert '"name": "\u05d0 <b>"' in shown.inner_text()
    assert shown.get_by_text('"inner"').is_visible()
    shown.locator("summary").nth(1).click()  # folds the inner object
    shown.get_by_text('"inner"').wait_for(state="hidden")
    assert shown.get_by_text('"name"').is_visible()
    tab.get_by_role("link", name="hex", exact=True).click()
    tab.get_by_label("Data as hex").get_by_text("7b 22 6e 61 6d 65").wait_for()
    tab.get_by_role("link", name="text", exact=True).click()
    tab.get_by_label("Data as text").get_by_text('{"name": ').wait_for()
