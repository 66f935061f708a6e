"""Prepares texts for output: counts, durations, indents, escapes of control characters."""

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


def duration(ms: int | None) -> str:
    """Return a duration as text for people, for example "1m05s"; "" for None."""
    if ms is None:
        return ""
    seconds = max(0, ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{seconds:02d}s" if hours else f"{minutes}m{seconds:02d}s"
