"""What commands answer: values for programs and texts for people. Imports nothing of ours."""

from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One thing that a command says.

    Attributes:
        value: what ``--output json`` prints, in a line.
        text: what is printed otherwise, without the line feed at its end; None: nothing.
        document: JSON that is printed before the text, on a terminal indented and in colours.
    """

    value: Any
    text: str | None = None
    document: str | None = None
