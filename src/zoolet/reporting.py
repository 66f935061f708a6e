"""How a command ends with an error: a sentence on standard error, and exit status 1."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

import click

from zoolet.model.oserrors import explain

P = ParamSpec("P")
T = TypeVar("T")


def fail(message: str) -> NoReturn:
    """Print a message and end the program."""
    click.echo(message, err=True)
    sys.exit(1)


def text_of(error: Exception) -> str:
    """Return what a user is told of an error."""
    return explain(error) if isinstance(error, OSError) else str(error)


def reporting(*expected: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a command end with a message if it raises one of these errors, or an OSError."""
    errors: tuple[type[Exception], ...] = (*expected, OSError)

    def wrap(command: Callable[P, T]) -> Callable[P, T]:
        @wraps(command)
        def reported(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return command(*args, **kwargs)
            except BrokenPipeError:
                raise  # the reader wants no more: zoolet.cli sees to it
            except errors as error:
                fail(f"zoolet: {text_of(error)}")

        return reported

    return wrap
