"""The shell in this very process: what it prints, and what it returns."""

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

from zoolet.shell import main


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
