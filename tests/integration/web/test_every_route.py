"""Every route of the application, also one that is new: who is refused, and hostile parameters."""

import inspect
import random
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

import httpx2
import pytest
from starlette.routing import Route

from tests.support.web import (
    JSON,
    PASSWORDS,
    Browser,
    browsing,
    routes,
    settings_of,
    url_of,
    users_file,
)
from tests.support.web_streams import serving
from zoolet.client import Client
from zoolet.testing import EmbeddedServer
from zoolet.web.pages.posting import FormRoute

FORMS = [route for route in routes("POST") if isinstance(route, FormRoute)]
CHANGES = [url_of(route) for route in FORMS if route.changes]
WITHOUT_CHANGES = {
    "/login",
    "/logout",
    "/c/{cluster}/credentials",
    "/c/{cluster}/operations/{operation}/cancel",
    "/c/{cluster}/recipes/search",
    "/c/{cluster}/search",
    "/c/{cluster}/jobs/{queue}/count",
}
"""The forms that change nothing in ZooKeeper, so viewers may send them."""
CLOSED = [route for route in [*routes("GET"), *FORMS] if route.path != "/login"]
OF_CLUSTERS = [route for route in FORMS if "{cluster}" in route.path]

REQUESTS = 100
"""Requests with hostile parameters for each route."""


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return users_file(tmp_path_factory.mktemp("users"))


@pytest.fixture(scope="module")
def stranger(server: EmbeddedServer, users: Path) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts, users_file=users, allows_changes=True)) as browser:
        yield browser


@pytest.fixture(scope="module")
def viewer(server: EmbeddedServer, users: Path) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts, users_file=users, allows_changes=True)) as browser:
        yield browser.log_in("vi")


@pytest.fixture(scope="module")
def editor(server: EmbeddedServer, users: Path) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts, users_file=users, allows_changes=True)) as browser:
        yield browser.log_in("ed")


@pytest.fixture(scope="module")
def editor_without_the_option(server: EmbeddedServer, users: Path) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts, users_file=users)) as browser:
        yield browser.log_in("ed")


@pytest.fixture(scope="module")
def anybody(server: EmbeddedServer) -> Iterator[Browser]:
    """A browser of a page that needs no login."""
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


def test_every_form_checks_its_token_and_its_user() -> None:
    assert len(FORMS) == len(routes("POST"))
    assert {route.path for route in FORMS if not route.changes} <= WITHOUT_CHANGES
    assert all(route.methods == {"POST"} for route in FORMS)
    assert all(route.methods == {"GET", "HEAD"} for route in routes("GET"))
    assert not any(routes(method) for method in ("PUT", "DELETE", "PATCH", "OPTIONS"))


@pytest.mark.parametrize("url", CHANGES)
def test_only_an_editor_may_change_something(
    viewer: Browser, editor_without_the_option: Browser, anybody: Browser, url: str
) -> None:
    assert "editor" in viewer.post(url, {"path": "/"}, 403)["error"]
    for browser in (editor_without_the_option, anybody):
        assert "--allow-changes" in browser.post(url, {"path": "/"}, 403)["error"]


@pytest.mark.parametrize("url", [url_of(route) for route in FORMS])
def test_each_form_needs_its_token(editor: Browser, stranger: Browser, url: str) -> None:
    of_others = stranger.get("/login")["csrf"]
    for fields in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": "0" * 64}, {"csrf": of_others}):
        answer = editor.client.post(url, data=fields, headers=JSON)
        assert answer.status_code == 403
        assert "another site" in answer.json()["error"]


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "http://evil"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8091"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("url", [url_of(route) for route in FORMS])
def test_a_form_of_another_site_is_refused(
    editor: Browser, url: str, header: dict[str, str]
) -> None:
    token = editor.get("/login")["csrf"]
    answer = editor.client.post(url, data={"csrf": token}, headers=JSON | header)
    assert answer.status_code == 403
    assert "another site" in answer.json()["error"]


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: route.name)
def test_every_route_needs_a_login(stranger: Browser, route: Route) -> None:
    method = "POST" if isinstance(route, FormRoute) else "GET"
    answer = stranger.client.request(method, url_of(route), headers=JSON)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/json"


# --- Hostile parameters

VALUES = [
    *("", "/", "//", "a", "/a", "/a/", "/a/../b", "/none", "/zookeeper/quota", "a/b", "..", "."),
    *("-1", "0", "1", "00", "2147483648", "9223372036854775808", "9" * 30, "9" * 5000, "1_0", "+1"),
    *("1.5", "nan", "inf", "1e400", "0x10", "\u0661\u0662", "\u00b2", "true", "null", "[]", "{}"),
    *("text", "json", "hex", "*", "%", "(a+)+$", "[", "\\", "\0", "\r\nX: y", "\x1b[31m"),
    *("<script>alert(1)</script>", "{{7*7}}", "' or 1=1--", "\U0001f40e" * 50, "x" * 4000),
    *("2026-01-01T00:00:00", "9999-12-31", "0000-00-00", "a=b&c=d", "a,b", "sasl", "/\ufffe"),
    *("\u202e/a", "digest", "world:anyone:r"),
]
BYTES = [b"\xff", b"\xed\xa0\x80", b"/\xc0\xaf", b"%"]
"""Bytes that are not UTF-8, and half an escape."""


def names_of(route: Route) -> list[str]:
    """Return the names that the module of a handler may use for its parameters."""
    handler = inspect.getclosurevars(route.endpoint).nonlocals["handler"]
    source = inspect.getsource(inspect.getmodule(inspect.unwrap(handler)) or handler)
    return sorted({"path", *re.findall(r'"([a-z][a-z_-]{0,30})"', source)})


def hostile(rng: random.Random) -> str:
    """Return a value as a URL contains it."""
    if rng.random() < 0.1:
        return quote_from_bytes(rng.choice(BYTES), safe="%")
    return quote("".join(rng.choices(VALUES, k=rng.choice([1, 1, 1, 2]))), safe="")


def query_of(rng: random.Random, names: list[str]) -> str:
    fields = {name: hostile(rng) for name in rng.sample(names, min(len(names), rng.randrange(6)))}
    if rng.random() < 0.5:
        fields["path"] = "/a"  # so that other parameters count
    return "&".join(f"{name}={value}" for name, value in fields.items())


def path_of(rng: random.Random, route: Route) -> str:
    value = hostile(rng) if rng.random() < 0.7 else "1"
    path = url_of(route, value)
    return path.replace("local", hostile(rng), 1) if rng.random() < 0.05 else path


@pytest.fixture(scope="module")
def page(server: EmbeddedServer, users: Path) -> Iterator[str]:
    """The URL of a page on which an editor may change something."""
    settings = settings_of(
        server.hosts, users_file=users, allows_changes=True, connect_timeout_ms=500
    )
    with Client(server.hosts) as zk:
        zk.create("/a", b'{"a": 1}')
        zk.create("/a/b", b"\xff" * 5000)
    with serving(settings) as running:
        url = running.url
        yield url


@pytest.fixture(scope="module")
def program(page: str) -> Iterator[httpx2.Client]:
    """A program that has logged in as an editor."""
    with httpx2.Client(base_url=page, timeout=30) as client:
        token = client.get("/login", headers=JSON).json()["csrf"]
        fields = {"csrf": token, "name": "ed", "password": PASSWORDS["ed"]}
        answer = client.post("/login", data=fields, headers=JSON)
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        yield client


def check(client: httpx2.Client, method: str, url: str, body: str, accept: str) -> None:
    """Send a request; the answer is none of an unexpected error, and JSON if that is asked for."""
    headers = {"Accept": accept, "Content-Type": "application/x-www-form-urlencoded"}
    with client.stream(method, url, headers=headers, content=body.encode()) as answer:
        assert answer.status_code != 500, (method, url, body)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind == "text/event-stream" or "content-disposition" in answer.headers:
            return  # a stream has no end, and a file is what it is
        if accept == JSON["Accept"] and not answer.has_redirect_location:
            assert kind == accept, (method, url, body)
            answer.read()
            assert isinstance(answer.json(), dict), (method, url, body)


@pytest.mark.parametrize("route", routes("GET"), ids=lambda route: route.name)
def test_hostile_parameters_are_no_unexpected_error(program: httpx2.Client, route: Route) -> None:
    rng, names = random.Random(route.name), names_of(route)
    for _ in range(REQUESTS):
        accept = rng.choice([JSON["Accept"], "text/html"])
        url = f"{path_of(rng, route)}?{query_of(rng, names)}"
        check(program, "GET", url, "", accept)


@pytest.mark.parametrize("route", OF_CLUSTERS, ids=lambda route: route.name)
def test_hostile_forms_are_no_unexpected_error(program: httpx2.Client, route: FormRoute) -> None:
    rng, names = random.Random(route.name), names_of(route)
    for _ in range(REQUESTS):
        accept = rng.choice([JSON["Accept"], "text/html"])
        check(program, "POST", path_of(rng, route), query_of(rng, names), accept)
