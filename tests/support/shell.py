"""The shell in this very process: what it prints, and what it returns."""

import contextlib
import io
import sys
from typing import Any, NamedTuple
from unittest import mock

from kazoo.security import make_acl

from zoolet.client.kazoo import create_request, multi_async
from zoolet.shell.main import main
from zoolet.testing.servers.process import ExternalServer

GUARDED = [make_acl("world", "anyone", read=True, write=True, admin=True)]


class Ran(NamedTuple):
    """How a run of the shell ended."""

    status: int
    out: str
    err: str


def run_shell(hosts: str, *words: str, lines: str = "", options: tuple[str, ...] = ()) -> Ran:
    """Run the words as a command, or else the lines; there is no terminal anywhere."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "stdin", io.StringIO(lines)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main(["-server", hosts, *options, *words])
    return Ran(status, out.getvalue(), err.getvalue())


def ran(server: ExternalServer, *words: str) -> Ran:
    return run_shell(server.hosts, *words)


def printed(server: ExternalServer, *words: str) -> str:
    """Return what a command prints that does what it is asked."""
    found = ran(server, *words)
    assert (found.status, found.err) == (0, ""), words
    return found.out


def fill(client: Any, root: str, count: int) -> None:
    """Create children of 100 bytes."""
    client.create(root)
    for start in range(0, count, 500):
        names = [f"{root}/n{number:05d}" for number in range(start, min(start + 500, count))]
        multi_async(client, [create_request(client, name, b"x" * 100) for name in names]).get()
