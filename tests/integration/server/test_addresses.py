"""Addresses in zoo.cfg, on the command line and in the shell, with a real server."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shell import run_shell
from zoolet.testing import ServerProcess

NO_NAME = "no-such-host.invalid"
UNRESOLVED = f"the host name '{NO_NAME}' cannot be resolved: "


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback interface")


def ask(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(b"ruok")
        return connection.recv(100)


@needs_ipv6
@pytest.mark.parametrize("address", ["::", "0.0.0.0", "[::]"])
def test_every_address_is_of_both_families(tmp_path: Path, address: str) -> None:
    with ServerProcess(tmp_path / "server", {"clientPortAddress": address}) as server:
        assert ask("127.0.0.1", server.port) == b"imok"
        assert ask("::1", server.port) == b"imok"
        assert "Mode: standalone" in server.run_command("status").stdout


@pytest.fixture
def ipv6_server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server", {"clientPortAddress": "[::1]"})
    server._serves = lambda: is_up(server.port)  # type: ignore[method-assign]
    with server:
        yield server


def is_up(port: int) -> bool:
    try:
        return ask("::1", port) == b"imok"
    except OSError:
        return False


@needs_ipv6
def test_an_ipv6_address_in_every_program(ipv6_server: ServerProcess) -> None:
    port = ipv6_server.port
    status = ipv6_server.run_command("status")
    assert status.returncode == 0
    assert "Client address: ::1" in status.stdout
    assert run_shell(f"[::1]:{port}", "create", "/path").status == 0
    for hosts in (f"[::1]:{port}/path", f" [::1]:{port} , /path", f"{NO_NAME}:1,[::1]:{port}/path"):
        ran = run_shell(hosts, "create", "/a" + str(len(hosts)))
        assert (ran.status, ran.err) == (0, ""), hosts
    ran = run_shell(f"[::1]:{port}", "ls", f"[::1]:{port}/path")
    assert run_shell(f"[::1]:{port}", "ls", "/path").out.count("a") == 3, ran


def test_a_host_name_that_does_not_resolve_is_named(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", {"clientPortAddress": NO_NAME})
    for command in ("start-foreground", "status", "start"):
        refused = server.run_command(command)
        assert refused.returncode == 1
        assert UNRESOLVED in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stderr
    for hosts in (NO_NAME, f"{NO_NAME}:2181/path", f"{NO_NAME}:1, x{NO_NAME}:2"):
        ran = run_shell(hosts, "ls", "/")
        assert ran.status == 1
        assert UNRESOLVED in ran.err


@pytest.mark.parametrize("missing", ["data", "data/version-2", "log"])
def test_a_missing_directory_is_not_created_if_zoo_cfg_says_so(
    tmp_path: Path, missing: str
) -> None:
    home = tmp_path / "server"
    settings = {"datadir.autocreate": "false", "dataLogDir": home / "log"}
    server = ServerProcess(home, settings)
    if not missing.startswith("data"):
        (home / "data/version-2").mkdir(parents=True)
    else:
        (home / "log/version-2").mkdir(parents=True)
        if missing.endswith("version-2"):
            (home / "data").mkdir()
    refused = server.run_command("start-foreground")
    assert refused.returncode == 1
    assert "does not exist, and datadir.autocreate is false. Mount" in refused.stderr
    for directory in ("data/version-2", "log/version-2"):
        (home / directory).mkdir(parents=True, exist_ok=True)
    with server:
        assert ask("127.0.0.1", server.port) == b"imok"
