"""Prepares texts for output: counts, indents, escapes control characters."""

from zoolet.console.terminal import printable


def escaped(text: str) -> str:
    """Return ``text`` as one line: control characters and lone surrogates are escaped."""
    return printable(text, keep="\t")


def escaped_lines(text: str) -> str:
    """Return ``text`` with its line breaks; all other control characters are escaped."""
    return printable(text)


def counted(count: int, noun: str) -> str:
    """Return the number and the noun, which gets a plural "s" unless ``count`` is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def indented(text: str, by: str = "    ") -> str:
    """Return ``text`` with indented lines, so that no line looks like output of zoolet itself."""
    return by + text.replace("\n", f"\n{by}")
