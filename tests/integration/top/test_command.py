"""``zoolet top`` on a running server: at a terminal, in a pipe, and when the server stops."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.support.waiting import WAIT_S
from zoolet.client import Client
from zoolet.testing import EmbeddedServer

HOSTILE = "/\x1b[31mred\u202e"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running, Client(running.hosts) as client:
        client.create("/app", b"x")
        for _ in range(10):
            client.get("/app")
        client.exists("/\u202eright")
        yield running


def run(*arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "zoolet", "top", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


def test_without_a_terminal_it_prints_once(server: EmbeddedServer) -> None:
    shown = run("--server", server.hosts).stdout
    assert shown.startswith(f"{server.hosts}   ")
    assert "now all requests)" in shown
    [line] = [line for line in shown.splitlines() if line.endswith("  /app")]
    assert line.split()[-2] == "11"
    assert "\\u202eright" in shown
    assert "\u202e" not in shown
    assert shown.count("requests/s  ") == 5
    assert len(run("--server", server.hosts, "--rows", "1").stdout.splitlines()) == 1 + 5 * 3


def test_json_is_one_object_in_each_line(server: EmbeddedServer) -> None:
    shown = run("--server", server.hosts, "--json", "--rounds", "2", "--every-s", "1").stdout
    rounds: list[dict[str, Any]] = [json.loads(line) for line in shown.splitlines()]
    assert len(rounds) == 2
    [found] = rounds[0]["servers"]
    assert (found["server"], found["kind"], found["note"]) == (server.hosts, "samples", "")
    counts = {row["path"]: row["samples"] for row in found["paths"]}
    assert (counts["/app"], counts["/\u202eright"]) == (11, 1)


@pytest.mark.parametrize("dimensions", [(24, 80), (6, 30), (60, 200)])
def test_ctrl_c_ends_it_with_status_0(server: EmbeddedServer, dimensions: tuple[int, int]) -> None:
    terminal = pexpect.spawn(
        sys.executable, ["-m", "zoolet", "top", "--server", server.hosts, "--every-s", "1"],
        encoding="utf-8", dimensions=dimensions, timeout=WAIT_S, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    try:
        terminal.expect_exact(server.hosts)
        terminal.expect_exact(server.hosts)  # it is drawn again
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 0


def test_a_server_that_stops_and_returns_is_shown_again(server: EmbeddedServer) -> None:
    terminal = pexpect.spawn(
        sys.executable, ["-m", "zoolet", "top", "--server", server.hosts, "--every-s", "1"],
        encoding="utf-8", dimensions=(40, 160), timeout=WAIT_S, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    try:
        terminal.expect_exact("/app")
        server.stop()
        terminal.expect_exact(f"{server.hosts} does not answer: Connection refused")
        server.start()
        terminal.expect_exact("requests/s in the last")
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 0


def test_several_servers_are_asked_at_once(server: EmbeddedServer) -> None:
    shown = run("--server", f"{server.hosts},127.0.0.1:1", "--json").stdout
    first, second = json.loads(shown)["servers"]
    assert (first["kind"], second["kind"]) == ("samples", "nothing")
    assert "Connection refused" in second["note"]


def test_a_server_that_does_not_allow_topk_shows_counters() -> None:
    settings = {"4lw.commands.whitelist": "cons"}
    with EmbeddedServer(settings=settings) as server, Client(server.hosts) as client:
        client.exists("/a")
        done = run("--server", server.hosts, "--once")
        assert f"{server.hosts} does not allow topk: add it to" in done.stdout
        assert "with pings" in done.stdout


def test_without_numbers_the_status_is_1() -> None:
    with EmbeddedServer(settings={"4lw.commands.whitelist": "srvr"}) as server:
        done = run("--server", server.hosts, status=1)
    assert "does not allow cons: add it to 4lw.commands.whitelist" in done.stdout
    assert done.stderr == "zoolet: no server gives numbers; the output says why\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--server", "host:port:1"], "host:port:1"),
        (["--server", HOSTILE], "\\x1b[31mred\\u202e"),
        (["--server", ",".join(["h:1"] * 30)], "at most 20 servers"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key need --tls-ca"),
        (["--every-s", "0"], "--every-s"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], message: str) -> None:
    done = run(*arguments, status=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
