"""``zkCli.sh``: run one command from the command line, or many from a terminal or a pipe.

The exit status is that of the last command (see ``runner.py``), 1 if no server answers, and 2 if
the command line is invalid.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from zoolet.shell import commands  # noqa: F401 -- fills the table of commands
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError
from zoolet.shell.java_flags import krb5_conf_of_java
from zoolet.shell.output import Output
from zoolet.shell.runner import FAILED, Shell
from zoolet.shell.settings import Settings, read_settings


def main(argv: list[str]) -> int:
    """Run the shell; return the exit status."""
    settings = read_settings(argv, os.environ)
    if path := krb5_conf_of_java(os.environ):
        os.environ["KRB5_CONFIG"] = path
    _prepare_streams()
    output = Output(is_json=settings.is_json, has_pager=settings.has_pager)
    try:
        return _run(settings, output)
    except CommandError as error:
        output.complain(str(error))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        # The output cannot be written, or its reader has closed the pipe. Python must not flush the
        # rest of the output there when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            output.complain(f"The output cannot be written: {error}")
    return FAILED


def _prepare_streams() -> None:
    """Open missing standard streams, and make them accept bytes that are not valid UTF-8."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _run(settings: Settings, output: Output) -> int:
    context = Context(settings, output)
    try:
        context.connection.open()
        shell = Shell(context)
        if settings.command:
            context.lines.append(" ".join(settings.command))
            return shell.run(settings.command)
        return shell.run_lines(_typed(context) if output.has_person else sys.stdin)
    finally:
        # A Ctrl-C after the end of the last command does not change its exit status.
        with contextlib.suppress(KeyboardInterrupt):
            context.close()


def _typed(context: Context) -> Iterator[str]:
    from zoolet.shell.prompt import typed_lines  # noqa: PLC0415 -- a third of the startup time

    return typed_lines(context)
