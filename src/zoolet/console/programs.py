"""What every program does around its command: the character encoding, errors and the output.

This module must not import click: a server does not need it.
"""

import codecs
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from zoolet.console.extras import explain_import
from zoolet.console.os_errors import explain
from zoolet.console.reporting import fail

_FAILED: Final = 1


def use_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the locale has only ASCII characters.

    Python itself does so for the locale C, unless PYTHONUTF8 is 0. Without it, the program could
    not read or write other characters in paths of znodes, in data and in the names of files.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    # The variable is also for the processes that this program starts. If it is set already, an
    # option of Python forbids the mode: starting again would not end.
    if is_ascii and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def run_reporting(run: Callable[[], Any]) -> Any:
    """Run a program. If it raises an OSError, print one line and exit with status 1.

    The same happens if an optional package is missing. The output is flushed here, because Python
    prints its own message if a flush at exit fails.
    """
    try:
        try:
            return run()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        _discard_output()
        # A closed pipe is not an error: its reader needs no more output.
        if not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):
                fail(f"zoolet: {explain(error)}")
        sys.exit(_FAILED)
    except ImportError as error:
        if (reason := explain_import(error)) is None:
            raise
        fail(f"zoolet: {reason}")


def _discard_output() -> None:
    """Redirect standard output to the null device, so that Python's flush at exit succeeds."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
