"""The programs ``zoolet`` and ``zkServer.sh``: they run a server without click.

click would stay in the server's memory (docs/decisions/0116-server-without-openssl.md). All other
commands are in ``zoolet.cli``, which uses click. It also serves if the arguments of a server have
an unusual form, and prints the help and all errors of usage.
"""
# ruff: noqa: E402 -- the garbage collector is configured before large modules are imported

import os
import sys

from zoolet.process import collector

collector.configure()

from zoolet.console.programs import run_reporting, use_utf8
from zoolet.console.reporting import fail

_START = "start-foreground"


def main() -> None:
    """Run ``zoolet``."""
    if sys.argv[1:3] == ["server", _START] and _serves(sys.argv[3:]):
        return
    from zoolet.cli import main as with_click  # noqa: PLC0415 -- see the head of this module

    with_click()


def zk_server() -> None:
    """Run ``zkServer.sh``."""
    if sys.argv[1:2] == [_START] and _serves(sys.argv[2:]):
        return
    from zoolet.cli import zk_server as with_click  # noqa: PLC0415 -- see the head of this module

    with_click()


def _serves(arguments: list[str]) -> bool:
    """Run a server if the arguments have the usual form; return whether it ran."""
    if sys.platform == "win32":
        return False
    use_utf8()
    return bool(run_reporting(lambda: _serve(arguments)))


def _serve(arguments: list[str]) -> bool:
    from zoolet.process.service_manager import ServiceManager  # noqa: PLC0415 -- see _serves
    from zoolet.server.cli.foreground import simple_options, start_foreground  # noqa: PLC0415

    options = simple_options(arguments)
    if options is None:
        return False
    try:
        start_foreground(options, ServiceManager.take(os.environ, os.getpid()))
    except KeyboardInterrupt:
        fail("\nAborted!")  # as click does, for a signal before the server handles signals
    return True
