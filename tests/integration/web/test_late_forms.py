"""Forms that arrive late, and logins that end or change while the page works for them."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest

from tests.support.sasl import PROVIDER
from tests.support.waiting import WAIT_S, wait_until
from tests.support.web import JSON, hash_text, settings_of, users_file
from tests.support.web_process import log_in
from tests.support.web_streams import serving
from zoolet.client import Client
from zoolet.testing import EmbeddedServer

USERS = {"ann": "anns secret", "bob": "bobs secret"}
CREDENTIALS = "/c/local/credentials"
ROUNDS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server with SASL."""
    passwords = {f"zoolet.saslPassword.{name}": password for name, password in USERS.items()}
    with EmbeddedServer(
        settings={**PROVIDER, **passwords, "zoolet.saslFailureDelayMs": 0}
    ) as running:
        yield running


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return users_file(tmp_path)


@pytest.fixture
def url(server: EmbeddedServer, users: Path) -> Iterator[str]:
    with serving(settings_of(server.hosts, users_file=users, allows_changes=True)) as running:
        yield running.url


@pytest.fixture
def editor(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=WAIT_S, headers=JSON) as client:
        log_in(client, "ed")
        yield client


def sent_in_parts(
    client: httpx2.Client, path: str, fields: Mapping[str, str], between: Callable[[], object]
) -> str:
    """Send the first half of a form, do something, send the rest; return the status line."""
    body = urlencode(fields).encode()
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {client.base_url.host}:{client.base_url.port}\r\n"
        f"Cookie: {cookie}\r\nX-CSRF-Token: {client.headers['X-CSRF-Token']}\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 0), WAIT_S
    ) as page:
        page.sendall(head.encode() + body[:3])
        client.get("/").raise_for_status()  # the page has begun with the form
        between()
        page.sendall(body[3:])
        return page.makefile("rb").readline().decode().split()[1]


def test_a_form_that_arrives_after_the_logout_changes_nothing(
    server: EmbeddedServer, editor: httpx2.Client
) -> None:
    fields = {"parent": "/", "name": "late"}
    status = sent_in_parts(editor, "/c/local/create", fields, lambda: editor.post("/logout"))
    assert status == "401"
    with Client(server.hosts) as zk:
        assert zk.exists("/late") is None


def test_a_form_that_arrives_after_a_change_of_the_role_changes_nothing(
    server: EmbeddedServer, editor: httpx2.Client, users: Path
) -> None:
    lines = {
        "403": f"viewer password ed {hash_text('ed')}\n",
        "401": f"viewer password vi {hash_text('vi')}\n",
    }
    for status, line in lines.items():
        fields = {"parent": "/", "name": "late"}
        before = users.read_text()
        found = sent_in_parts(editor, "/c/local/create", fields, lambda: users.write_text(line))  # noqa: B023 -- called at once
        assert found == status
        users.write_text(before)
    with Client(server.hosts) as zk:
        assert zk.exists("/late") is None
    assert sent_in_parts(editor, "/c/local/create", fields, lambda: None) == "200"


def test_a_login_at_zookeeper_after_the_logout_leaves_no_session(
    server: EmbeddedServer, editor: httpx2.Client
) -> None:
    editor.get("/c/local/tree").raise_for_status()
    before = {found.session_id for found in server.inside.sessions()}
    fields = {"scheme": "sasl", "name": "ann", "password": USERS["ann"]}
    assert sent_in_parts(editor, CREDENTIALS, fields, lambda: editor.post("/logout")) == "401"
    assert {found.session_id for found in server.inside.sessions()} <= before


def test_a_logout_while_the_login_at_zookeeper_waits(users: Path) -> None:
    """The server accepts connections, and never answers.

    The page samples it too, so a connection of the page is no sign of the login.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        serving(settings_of(f"127.0.0.1:{silent.getsockname()[1]}", users_file=users)) as running,
        httpx2.Client(base_url=running.url, timeout=WAIT_S, headers=JSON) as client,
        ThreadPoolExecutor() as pool,
    ):
        log_in(client, "vi")
        fields = {"scheme": "sasl", "name": "ann", "password": "x"}
        sent = pool.submit(client.post, CREDENTIALS, data=fields)
        clients = running.site.clients
        wait_until(lambda: bool(clients._connections), "the login at ZooKeeper waits")
        client.post("/logout").raise_for_status()
        answer = sent.result(WAIT_S)
        assert answer.status_code == 403
        assert "the login at ZooKeeper has ended" in answer.json()["error"]


def test_two_logins_at_zookeeper_at_once_never_mix(
    server: EmbeddedServer, editor: httpx2.Client
) -> None:
    """The name that the page shows is always one whose password was right."""
    editor.get("/c/local/tree").raise_for_status()
    others = len(list(server.inside.sessions()))
    forms = [
        {"scheme": "sasl", "name": "ann", "password": USERS["ann"]},
        {"scheme": "sasl", "name": "bob", "password": "wrong"},
    ]
    barrier = threading.Barrier(len(forms))

    def enter(form: dict[str, str]) -> int:
        barrier.wait(WAIT_S)
        return editor.post(CREDENTIALS, data=form).status_code

    with ThreadPoolExecutor() as pool:
        for _ in range(ROUNDS):
            statuses = list(pool.map(enter, forms))
            assert statuses[1] == 403
            assert editor.get(CREDENTIALS).json()["name"] in {"ann", None}
    editor.post(CREDENTIALS, data=forms[0]).raise_for_status()
    wait_until(
        lambda: len(list(server.inside.sessions())) == others + 1,
        "only the session of the last login is left",
    )
