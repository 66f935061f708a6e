"""The answers of commands: values for programs and texts for people. Imports no zoolet module."""

from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One item of a command's output.

    Attributes:
        value: the value that ``--output json`` prints as one line of JSON.
        text: the text that is printed otherwise, without the final line feed; None prints nothing.
        document: a JSON text that is printed before ``text``; a terminal shows it indented and
            in colours. None if there is no such text.
    """

    value: Any
    text: str | None = None
    document: str | None = None
