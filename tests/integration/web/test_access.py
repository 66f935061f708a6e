"""Who may use the page: names, logins, proxies, credentials, and the headers of each response."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web import (
    JSON,
    PASSWORDS,
    Browser,
    browsing,
    settings_of,
    users_file,
)
from tests.support.web_streams import serving
from zoolet.client import ACL, Client, ClientOptions, Credential, Id, Permission
from zoolet.testing import EmbeddedServer
from zoolet.web.access.attempts import OF_ADDRESS, OF_NAME
from zoolet.web.access.guard import cookie_name
from zoolet.web.pages import posting, tree
from zoolet.web.settings import parse_network

COOKIE = cookie_name(settings_of(""))
PROXY = {"trusted_proxies": (parse_network("10.0.0.1"),)}


@pytest.fixture
def web(server: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts, users_file=users_file(tmp_path))) as browser:
        yield browser


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8090", "", "127.0.0.1.evil", "10.0.0.1"]
)
def test_another_name_reaches_no_page(web: Browser, host: str) -> None:
    for path in ("/", "/login", "/static/tree.js"):
        answer = web.client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/login", "/static/tree.js", "/nothing", "/c/local/tree"])
def test_each_response_has_the_security_headers(web: Browser, path: str) -> None:
    headers = web.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"]


@pytest.mark.parametrize("accept", [JSON["Accept"], "text/html"])
def test_an_unexpected_error_has_the_security_headers_too(
    web: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tree, "check_path", fail)
    web.log_in("vi")
    answer = web.client.get("/c/local/tree?path=/a", headers={"Accept": accept})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith(accept.replace("html", "plain"))
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "An unexpected error" in answer.text
    assert "MemoryError" in caplog.text


def test_no_page_has_scripts_or_styles_of_its_own() -> None:
    templates = Path(__file__).parents[3] / "src" / "zoolet" / "web" / "templates"
    for template in templates.glob("*.html"):
        text = template.read_text()
        assert "style=" not in text, template.name
        assert "<style" not in text, template.name
        assert " on" not in {part[:3] for part in text.split("<")}, template.name
        assert text.count("<script") == text.count('<script src="{{ base }}/static/')
        assert "http://" not in text, template.name
        assert "https://" not in text, template.name
        assert "|safe" not in text.replace(" ", ""), template.name


def test_a_page_needs_a_login_and_leads_to_it(web: Browser) -> None:
    answer = web.client.get("/c/local/tree?path=/a", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/c/local/tree%3Fpath%3D/a"
    assert web.get("/", 401)["error"]
    web.log_in("vi")
    assert web.get("/")["list"]
    web.post("/logout", {})
    assert web.get("/", 401)["error"]


def test_the_cookie_is_new_after_a_login_and_safe(web: Browser) -> None:
    before = web.client.get("/login").headers["set-cookie"]
    assert "HttpOnly" in before
    assert "SameSite=Lax" in before
    assert "Secure" not in before
    old = web.client.cookies[COOKIE]
    web.log_in("vi")
    assert web.client.cookies[COOKIE] != old
    web.client.cookies.clear()
    web.client.cookies.set(COOKIE, old)
    assert web.get("/", 401)


@pytest.mark.parametrize("name", ["vi", "nobody", "unknown", "", "pat", "ed\0"])
def test_a_wrong_password_is_refused(web: Browser, name: str) -> None:
    found = web.post("/login", {"name": name, "password": "wrong"}, 403)
    assert found["error"] == "The name or the password is wrong."
    assert web.get("/", 401)


def test_an_address_has_few_attempts(web: Browser) -> None:
    for _ in range(OF_ADDRESS):
        web.post("/login", {"name": "none", "password": "x"}, 403)
    found = web.post("/login", {"name": "vi", "password": PASSWORDS["vi"]}, 429)
    assert "Wait" in found["error"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("/c/local/tree", "/c/local/tree"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nX: y", "/"),
    ],
)
def test_a_login_leads_only_to_this_site(web: Browser, wanted: str, found: str) -> None:
    token = web.get("/login")["csrf"]
    fields = {"csrf": token, "name": "vi", "password": PASSWORDS["vi"], "next": wanted}
    answer = web.client.post("/login", data=fields, follow_redirects=False)
    assert answer.headers["location"] == found


def test_a_user_who_is_removed_from_the_file_is_out(web: Browser, tmp_path: Path) -> None:
    web.log_in("vi")
    path = tmp_path / "users"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if " vi " not in line)
    )
    assert web.get("/", 401)


def test_a_header_names_the_user_only_from_a_proxy(server: EmbeddedServer, tmp_path: Path) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), **PROXY)
    named = {"X-Forwarded-User": "pat", "X-Forwarded-For": "1.2.3.4, 5.6.7.8, 10.0.0.1"}
    with browsing(settings, "10.0.0.2") as other:
        assert other.client.get("/", headers=JSON | named).status_code == 401
    with browsing(settings, "10.0.0.1") as proxy:
        assert proxy.client.get("/", headers=JSON | named).status_code == 200
        assert "pat" in proxy.client.get("/", headers=named).text
        secure = proxy.client.get("/login", headers={"X-Forwarded-Proto": "https"})
        proxy.client.cookies.clear()
        secure = proxy.client.get("/login", headers={"X-Forwarded-Proto": "https"})
        assert "Secure" in secure.headers["set-cookie"]
        assert proxy.client.get("/", headers=JSON).status_code == 401


def test_a_token_of_one_user_is_not_that_of_another(server: EmbeddedServer, tmp_path: Path) -> None:
    settings = settings_of(
        server.hosts, users_file=users_file(tmp_path), allows_changes=True, **PROXY
    )
    with browsing(settings, "10.0.0.1") as web:
        token = web.client.get("/", headers=JSON | {"X-Forwarded-User": "mallory"}).json()["csrf"]
        answer = web.client.post(
            "/c/local/create",
            data={"csrf": token, "parent": "/", "name": "x"},
            headers=JSON | {"X-Forwarded-User": "pat"},
        )
        assert answer.status_code == 403


def test_the_pages_behind_a_base_path(server: EmbeddedServer) -> None:
    with browsing(settings_of(server.hosts, base_path="/tools/zk")) as web:
        assert web.client.get("/", headers=JSON).status_code == 404
        page = web.client.get("/tools/zk/").text
        assert 'href="/tools/zk/c/local/tree"' in page
        assert web.client.get("/tools/zk/static/page.css").status_code == 200
        web.client.cookies.clear()
        assert "Path=/tools/zk;" in web.client.get("/tools/zk/").headers["set-cookie"]
        # The page does not know which scheme and host a proxy shows.
        answer = web.client.get("/tools/zk", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, "/tools/zk/")


def test_credentials_belong_to_one_login(server: EmbeddedServer) -> None:
    options = ClientOptions(auth=(Credential("digest", "ann:secret"),))
    settings = settings_of(server.hosts)
    with Client(server.hosts, options) as client, browsing(settings) as web:
        client.create("/ann", b"hers", acl=(ACL(int(Permission.ALL), Id("auth", "")),))
        assert web.get("/c/local/tree?path=/ann")["data"] is None
        web.post("/c/local/credentials", {"scheme": "kerberos", "name": "a", "password": ""}, 400)
        fields = {"scheme": "digest", "name": "ann", "password": "secret"}
        web.post("/c/local/credentials", fields)
        assert web.get("/c/local/tree?path=/ann")["data"]["text"] == "hers"
        found = web.get("/c/local/credentials")
        assert (found["scheme"], found["name"]) == ("digest", "ann")
        assert "secret" not in json.dumps(found) + web.html("/c/local/credentials")
        own = web.client.cookies[COOKIE]
        web.client.cookies.clear()
        assert web.get("/c/local/tree?path=/ann")["data"] is None
        web.client.cookies.clear()
        web.client.cookies.set(COOKIE, own)
        web.post("/c/local/credentials", {"name": ""})
        assert web.get("/c/local/tree?path=/ann")["data"] is None
        client.delete("/ann")  # nobody else may


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zoolet", "web", "--server", "a=127.0.0.1:1"]
    for more, message in [
        (["--allow-changes"], "--users-file"),
        (["--results", "a"], "NAME=URL"),
        (["--results", "a=password"], "the URL of the result store a is not of the form"),
        (["--listen", "0.0.0.0:0"], "without a login"),
        (["--colour", "b=red"], "no --server b="),
        (["--https-cert", "x"], "need each other"),
        (["--users-file", str(tmp_path / "none")], "cannot be read"),
        (["--tls-cert", "x"], "--tls-ca"),
    ]:
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode != 0
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_the_process_ends_cleanly(server: EmbeddedServer) -> None:
    command = [sys.executable, "-m", "zoolet", "web", "--server", f"a={server.hosts}"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("zoolet web: http://127.0.0.1:")
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_cookies_of_other_programs_do_not_hide_the_own(server: EmbeddedServer) -> None:
    with browsing(settings_of(server.hosts)) as web:
        token = web.get("/")["csrf"]
        own = web.client.cookies[COOKIE]
        web.client.cookies.clear()
        others = [f'json={{"a": [1, "b;c"]}}; {COOKIE}={own}', f"{COOKIE}={own}; a=b=c; ; d"]
        for sent in others:
            answer = web.client.get("/", headers=JSON | {"Cookie": sent})
            assert answer.json()["csrf"] == token
        answer = web.client.get("/", headers=JSON | {"Cookie": f"zoolet_web_8091={own}"})
        assert answer.json()["csrf"] != token


def test_a_form_that_does_not_arrive(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "FORM_S", 0.05)
    with (
        serving(settings_of(server.hosts)) as running,
        socket.create_connection(("127.0.0.1", running.settings.port), 30) as half,
    ):
        half.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nname=")
        assert half.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_name_has_few_attempts_from_all_addresses(server: EmbeddedServer, tmp_path: Path) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), **PROXY)
    with browsing(settings, "10.0.0.1") as proxy:
        token = proxy.get("/login")["csrf"]
        statuses = [
            proxy.client.post(
                "/login",
                data={"csrf": token, "name": "vi", "password": "wrong"},
                headers=JSON | {"X-Forwarded-For": f"1.2.3.{number}"},
            ).status_code
            for number in range(OF_NAME + 1)
        ]
        assert statuses == [403] * OF_NAME + [429]
        # The header does not help who adds addresses of their own before that of the proxy.
        for number in range(OF_ADDRESS):
            forged = {"X-Forwarded-For": f"9.9.9.{number}, 5.5.5.5"}
            fields = {"csrf": token, "name": f"n{number}", "password": "wrong"}
            proxy.client.post("/login", data=fields, headers=JSON | forged)
        fields = {"csrf": token, "name": "ed", "password": PASSWORDS["ed"]}
        forged = {"X-Forwarded-For": "9.9.9.99, 5.5.5.5"}
        answer = proxy.client.post("/login", data=fields, headers=JSON | forged)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
