"""Ends a command after an error, with a message on standard error and an exit status.

This module must not import click: a server does not need it.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

from zoolet.console.os_errors import explain
from zoolet.console.terminal import printable

P = ParamSpec("P")
T = TypeVar("T")


def fail(message: str, status: int = 1) -> NoReturn:
    """Print a message to standard error and exit with a status."""
    if sys.stderr is not None:  # else print would write to standard output
        print(message, file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(status)


def text_of(error: Exception) -> str:
    """Return the message of an error for the user."""
    if isinstance(error, MemoryError):
        return "not enough memory. Free memory on this machine, or raise the limit of this process."
    return explain(error) if isinstance(error, OSError) else str(error)


def reporting(*expected: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator for a command: the command fails with a message on the expected errors.

    Messages can contain names of znodes, so characters that control the terminal are escaped. The
    decorator does the same for MemoryError, and for every OSError except BrokenPipeError.
    """
    errors: tuple[type[Exception], ...] = (*expected, OSError, MemoryError)

    def wrap(command: Callable[P, T]) -> Callable[P, T]:
        @wraps(command)
        def reported(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return command(*args, **kwargs)
            except BrokenPipeError:
                raise  # zoolet.cli handles a closed pipe
            except errors as error:
                fail(f"zoolet: {printable(text_of(error))}")

        return reported

    return wrap
