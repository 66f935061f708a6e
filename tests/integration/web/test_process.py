"""``zoolet web`` as a process: its start and its end, TLS, and a reverse proxy before it."""

import contextlib
import signal
import socket
import ssl
import sys
from pathlib import Path

import httpx2
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.support.waiting import WAIT_S
from tests.support.web import JSON, users_file
from tests.support.web_process import failed_start, log_in, reverse_proxy, web_process
from zoolet.client import Client
from zoolet.testing import EmbeddedServer, ServerProcess


class Authority:
    """A certificate authority, and the files of a page."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.cert, self.key = directory / "page.pem", directory / "page.key"
        self.options = ("--https-cert", str(self.cert), "--https-key", str(self.key))
        self.issue()

    def issue(self) -> None:
        """Replace the files by those of a new certificate."""
        issued = self._ca.issue_cert("127.0.0.1", "localhost")
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))

    def context(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the authority."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def certificate_of(self, port: int, name: str = "127.0.0.1") -> bytes | None:
        """Return the certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", port), WAIT_S) as plain,
            self.context().wrap_socket(plain, server_hostname=name) as connection,
        ):
            return connection.getpeercert(binary_form=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_the_page_with_tls(server: EmbeddedServer, tmp_path: Path, authority: Authority) -> None:
    options = (*authority.options, "--users-file", users_file(tmp_path))
    with web_process(server.hosts, tmp_path, *options) as web:
        assert web.url.startswith("https://127.0.0.1:")
        with httpx2.Client(base_url=web.url, verify=authority.context(), timeout=WAIT_S) as client:
            for answer in (client.get("/login"), log_in(client, "vi")):
                assert "; Secure" in answer.headers["set-cookie"]
                assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
                # It would hold for all ports of the machine.
                assert "strict-transport-security" not in answer.headers
            assert client.get("/c/local/tree", headers=JSON).json()["path"] == "/"
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(web.url.replace("https", "http"), timeout=WAIT_S)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", web.port), WAIT_S) as plain,
            old.wrap_socket(plain) as connection,
        ):
            assert connection.version() == "TLSv1.2"


def test_a_new_certificate_needs_no_restart(
    server: EmbeddedServer, tmp_path: Path, authority: Authority
) -> None:
    with (
        web_process(server.hosts, tmp_path, *authority.options) as web,
        httpx2.Client(base_url=web.url, verify=authority.context(), timeout=WAIT_S) as client,
    ):
        assert client.get("/").status_code == 200
        first = authority.certificate_of(web.port)
        assert authority.certificate_of(web.port, "localhost") == first
        authority.issue()
        second = authority.certificate_of(web.port)
        assert second != first
        assert authority.certificate_of(web.port, "localhost") == second
        key = authority.key.read_bytes()
        authority.key.write_text("no key")
        assert authority.certificate_of(web.port) == second
        assert "The certificate before this change stays" in web.log.read_text()
        authority.key.unlink()
        assert authority.certificate_of(web.port) == second
        authority.key.write_bytes(key)
        assert authority.certificate_of(web.port) == second
        assert client.get("/").status_code == 200


def test_files_of_tls_that_cannot_be_used(
    server: EmbeddedServer, tmp_path: Path, authority: Authority
) -> None:
    start = ("--server", f"a={server.hosts}", "--listen", "127.0.0.1:0", *authority.options)
    key = authority.key.read_bytes()
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    authority.key.write_bytes(locked)
    assert "the key has a password" in failed_start(*start)
    Authority(tmp_path)
    cert = authority.cert.read_bytes()
    Authority(tmp_path)
    authority.cert.write_bytes(cert)
    assert "does not belong to the certificate" in failed_start(*start)
    authority.cert.write_text("")
    assert f"--https-cert {authority.cert}" in failed_start(*start)
    authority.cert.unlink()
    assert "cannot be read: No such file" in failed_start(*start)


def test_a_used_port_is_named(server: EmbeddedServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        message = failed_start("--server", f"a={server.hosts}", "--listen", listen)
        assert f"--listen {listen}: Address already in use" in message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_also_with_an_open_connection(
    server: EmbeddedServer, tmp_path: Path, number: signal.Signals
) -> None:
    with (
        web_process(server.hosts, tmp_path) as web,
        httpx2.Client(base_url=web.url, timeout=WAIT_S) as client,
    ):
        assert client.get("/c/local/tree").status_code == 200
        with socket.create_connection(("127.0.0.1", web.port), WAIT_S) as half:
            half.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            web.process.send_signal(number)
            assert web.process.wait(WAIT_S) == 0


def test_a_page_behind_a_reverse_proxy(server: EmbeddedServer, tmp_path: Path) -> None:
    names = ("--base-path", "/tools/zk", "--host", "tools.example")
    users = ("--trusted-proxy", "127.0.0.1", "--users-file", users_file(tmp_path))
    headers = {
        "X-Forwarded-User": "pat",
        "X-Forwarded-For": "10.1.2.3",
        "X-Forwarded-Proto": "https",
        "Host": "tools.example",
    }
    with (
        Client(server.hosts) as zk,
        web_process(server.hosts, tmp_path, *names, *users, "--allow-changes") as web,
        reverse_proxy(web.port, headers) as url,
        httpx2.Client(base_url=url, timeout=WAIT_S) as browser,
    ):
        page = browser.get("/tools/zk/c/local/tree")
        assert "pat" in page.text
        assert "; Path=/tools/zk; HttpOnly; SameSite=Lax; Secure" in page.headers["set-cookie"]
        browser.cookies.clear()  # this client would not send a secure cookie without TLS
        cookie = page.headers["set-cookie"].partition(";")[0]
        browser.headers["Cookie"] = cookie
        links = {part.split('"')[0] for part in page.text.split('href="')[1:]}
        assert all(link.startswith(("/tools/zk/", "#")) for link in links)
        assert browser.get("/tools/zk/static/tree.js").status_code == 200
        assert browser.get("/c/local/tree").status_code == 404
        token = browser.get("/tools/zk/", headers=JSON).json()["csrf"]
        fields = {"csrf": token, "parent": "/", "name": "by-proxy"}
        origin = {"Origin": "https://tools.example"}
        evil = {"Origin": "https://evil.example"}
        made = "/tools/zk/c/local/create"
        assert browser.post(made, data=fields, headers=JSON | evil).status_code == 403
        done = browser.post(made, data=fields, headers=JSON | origin)
        assert done.json() == {"path": "/by-proxy"}
        assert zk.exists("/by-proxy")
        # The record names the browser. The proxy replaces the browser's own headers.
        spoofed = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-User": "mallory"}
        again = browser.post(made, data=fields, headers=JSON | origin | spoofed)
        assert again.status_code == 409
    records = [line for line in web.log.read_text().splitlines() if line.startswith("{")]
    assert len(records) == 2
    assert all('"user": "pat", "address": "10.1.2.3"' in record for record in records)


def test_a_header_of_a_browser_names_no_user(server: EmbeddedServer, tmp_path: Path) -> None:
    options = ("--users-file", users_file(tmp_path), "--trusted-proxy", "10.9.9.9")
    with web_process(server.hosts, tmp_path, *options) as web:
        headers = JSON | {"X-Forwarded-User": "pat", "X-Forwarded-For": "10.9.9.9"}
        assert httpx2.get(f"{web.url}/", headers=headers).status_code == 401
        assert httpx2.get(f"{web.url}/", headers={"Host": "evil.example"}).status_code == 421


def test_the_command_works_as_a_script(server: EmbeddedServer, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "zoolet"
    assert script.exists()
    with web_process(server.hosts, tmp_path) as web:
        assert httpx2.get(web.url, headers=JSON).json()["list"][0]["name"] == "local"


def test_the_end_of_the_process_records_what_runs(tmp_path: Path) -> None:
    """An import, a download, streams, a form and a file that have not arrived, a stopped server."""
    options = ("--users-file", users_file(tmp_path), "--allow-changes")
    with (
        ServerProcess() as server,
        Client(server.hosts) as zk,
        web_process(server.hosts, tmp_path, *options) as web,
        httpx2.Client(base_url=web.url, timeout=WAIT_S, headers=JSON) as browser,
        contextlib.ExitStack() as stack,
    ):
        log_in(browser, "ed")
        zk.create("/big")
        for number in range(20):
            zk.create(f"/big/{number}", b"x" * 900_000)
        file = browser.get("/c/local/export?path=/big/0").content
        upload = browser.post("/c/local/upload?path=/new", content=file).json()["page"]
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        head = (
            f"Host: localhost\r\nCookie: {cookie}\r\n"
            f"X-CSRF-Token: {browser.headers['X-CSRF-Token']}\r\n"
        )
        for line in (
            "GET /c/local/live?znode=/big HTTP/1.1\r\n",
            "GET /c/local/changes/live?path=/big HTTP/1.1\r\n",
            "GET /c/local/export?path=/big HTTP/1.1\r\n",
            "POST /c/local/create HTTP/1.1\r\nContent-Length: 90\r\n",
            "POST /c/local/upload?path=/big HTTP/1.1\r\nContent-Length: 90\r\n",
        ):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), WAIT_S))
            one.sendall(f"{line}{head}\r\n".encode())
            if line.startswith("GET"):
                assert one.recv(12) == b"HTTP/1.1 200"
        server.pause()
        browser.post(upload).raise_for_status()
        web.process.terminate()
        assert web.process.wait(WAIT_S) == 0
        server.resume()
    (record,) = [line for line in web.log.read_text().splitlines() if line.startswith("{")]
    assert '"operation": "import"' in record
    assert '"result": "done"' not in record
