"""The web page in tests: its application, and a client with its cookie."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from starlette.routing import Route
from starlette.testclient import TestClient

from tests.support.quick_hashes import quick_hash
from zoolet.client import Client
from zoolet.passwords.hashes import NOBODYS_HASH
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.application import application
from zoolet.web.settings import Cluster, WebSettings

URL = "http://127.0.0.1:8090"
JSON = {"Accept": "application/json"}
AUDIT = "zoolet.web.access.audit"
PASSWORDS = {"ed": "editors password", "vi": "viewers password"}


@cache
def hash_text(name: str) -> str:
    """Return a hash of a user's password."""
    return str(quick_hash(PASSWORDS[name]))


def users_file(directory: Path) -> Path:
    """Write a file with the editor ed, the viewer vi, and users whom a proxy names."""
    path = directory / "users"
    path.write_text(
        f"editor password ed {hash_text('ed')}\n"
        f"viewer password vi {hash_text('vi')}\n"
        f"viewer password nobody {NOBODYS_HASH}\n"
        "editor proxy pat\n"
    )
    return path


def routes(method: str) -> list[Route]:
    """Return the routes of all pages for a method, also of those that are new."""
    found = application(settings_of("127.0.0.1:1")).routes
    return [
        route for route in found if isinstance(route, Route) and method in (route.methods or set())
    ]


def url_of(route: Route, value: str = "x") -> str:
    """Return the URL of a route in the cluster local; its other parameters get one value."""
    return re.sub(r"\{[^}]*\}", value, route.path.replace("{cluster}", "local"))


def settings_of(hosts: str, **more: Any) -> WebSettings:
    """Return settings with one cluster."""
    return WebSettings((Cluster("local", hosts, "red"),), **more)


class Browser:
    """A client with a cookie and the token of its forms."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, url: str, status: int = 200, **more: Any) -> Any:
        """Return the JSON of a page, after a check of its status."""
        answer = self.client.get(url, headers=JSON, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def html(self, url: str, status: int = 200) -> str:
        """Return the HTML of a page, after a check of its status."""
        answer = self.client.get(url)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    def post(self, url: str, fields: Mapping[str, Any], status: int = 200) -> Any:
        """Send a form with its token; return the JSON of the answer."""
        token = self.client.get("/login", headers=JSON).json()["csrf"]
        answer = self.client.post(
            url, data={"csrf": token, **fields}, headers=JSON, follow_redirects=False
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def log_in(self, name: str) -> "Browser":
        """Log in with the right password."""
        found = self.post("/login", {"name": name, "password": PASSWORDS[name]})
        assert found["user"] == name
        return self


@contextmanager
def browsing(settings: WebSettings, address: str = "127.0.0.1") -> Iterator[Browser]:
    """Run the page; the browser has this address."""
    app = application(settings)
    with TestClient(app, base_url=URL, client=(address, 50_000)) as client:
        yield Browser(client)


@contextmanager
def restoring(server: ManagedServer) -> Iterator[None]:
    """Delete the znodes and quotas of the block at its end; start the server if it was stopped."""
    with Client(server.hosts) as client:
        before = _paths(client)
    yield
    server.start()
    with Client(server.hosts) as client:
        for path in _paths(client) - before:
            client.delete_recursive(path)


def _paths(client: Client) -> set[str]:
    """Return the paths of the znodes below / and of the quotas."""
    return {
        f"{parent}/{name}"
        for parent in ("", "/zookeeper/quota")
        for name in client.children(parent or "/").names
        if name != "zookeeper"
    }


@contextmanager
def clearing(server: ManagedServer) -> Iterator[Client]:
    """Give the block a client of a server; delete all znodes of the block at its end."""
    with restoring(server), Client(server.hosts) as client:
        yield client


def audit_lines(records: Iterable[logging.LogRecord]) -> list[str]:
    """Return the lines of the audit among the records of all loggers."""
    return [record.getMessage() for record in records if record.name == AUDIT]


def audit_of(records: Iterable[logging.LogRecord]) -> list[dict[str, Any]]:
    """Return the records of the audit among those of all loggers."""
    return [json.loads(line) for line in audit_lines(records)]
