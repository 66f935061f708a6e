"""``zoolet web`` as a process, and a reverse proxy before it."""

import contextlib
import http.client
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2

from tests.support.waiting import WAIT_S
from tests.support.web import JSON, PASSWORDS

COMMAND = (sys.executable, "-m", "zoolet", "web")


class WebProcess:
    """A running page.

    Attributes:
        url: its URL, without the last slash.
        log: the file with its standard error.
    """

    def __init__(self, process: "subprocess.Popen[str]", url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    @property
    def port(self) -> int:
        """The port of the page."""
        return httpx2.URL(self.url).port or 0


@contextlib.contextmanager
def web_process(hosts: str, directory: Path, *options: str | Path) -> Iterator[WebProcess]:
    """Run ``zoolet web`` on a free port; at the end, it must end with the exit status 0."""
    log = directory / "web.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*COMMAND, "--server", f"local={hosts}", "--listen", "127.0.0.1:0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("zoolet web: http"), log.read_text()
            yield WebProcess(process, line.split()[-1].rstrip("/"), log)
            process.terminate()
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log.read_text(), log.read_text()


def failed_start(*options: str | Path) -> str:
    """Run ``zoolet web`` with options with which it must not start; return its message."""
    done = subprocess.run(
        [*COMMAND, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode not in {0, -9}
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    return done.stderr


def log_in(client: httpx2.Client, name: str, base: str = "") -> httpx2.Response:
    """Log in with the right password; the client then sends the token with each form."""
    client.headers.pop("X-CSRF-Token", None)
    token = client.get(f"{base}/login", headers=JSON).json()["csrf"]
    fields = {"csrf": token, "name": name, "password": PASSWORDS[name]}
    answer = client.post(f"{base}/login", data=fields, headers=JSON)
    assert answer.status_code == 200, answer.text
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return answer


@contextlib.contextmanager
def reverse_proxy(port: int, headers: Mapping[str, str]) -> Iterator[str]:
    """Run a reverse proxy before the page; it replaces these headers. The block gets its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            sent = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {known.lower() for known in headers}
            }
            page = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
            with contextlib.closing(page):
                page.request(self.command, self.path, body, {**sent, **headers})
                answer = page.getresponse()
                content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"content-length", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 -- a name of http.server

        def log_message(self, *_: object) -> None:
            """Write no log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(WAIT_S)
