"""JSON as pieces of text, so that a large answer is never in memory as a whole.

Owns the format: that of ``json.dumps(value, indent=2, ensure_ascii=False)``. Knows nothing of what
is encoded.
"""

import json
from collections.abc import Callable, Iterable, Iterator

PAUSE = object()
"""In ``Entries`` and ``Items``: a place where the writer may pause, and nothing to show."""


class Entries:
    """A JSON object whose members are made while it is written: pairs of name and value."""

    def __init__(self, pairs: Iterable[object]) -> None:
        """Show ``pairs``, each a tuple of name and value, or PAUSE."""
        self.pairs = pairs


class Items:
    """A JSON array whose elements are made while it is written."""

    def __init__(self, values: Iterable[object]) -> None:
        """Show ``values``, or PAUSE."""
        self.values = values


class Later:
    """A value that is known only when all before it is written."""

    def __init__(self, make: Callable[[], object]) -> None:
        """Show what ``make`` returns then."""
        self.make = make


def encode(value: object, indent: str = "\n") -> Iterator[str]:
    """Yield the pieces of a JSON text; an empty piece is a pause.

    ``value`` may hold Entries and Items at any depth. What JSON has no form for is shown as text.
    """
    if isinstance(value, dict):
        yield from _encode_object(value.items(), indent)
    elif isinstance(value, Entries):
        yield from _encode_object(value.pairs, indent)
    elif isinstance(value, list | tuple):
        yield from _encode_array(value, indent)
    elif isinstance(value, Items):
        yield from _encode_array(value.values, indent)
    elif isinstance(value, Later):
        yield from encode(value.make(), indent)
    else:
        yield json.dumps(value, ensure_ascii=False, default=str)


def _encode_object(pairs: Iterable[object], indent: str) -> Iterator[str]:
    inner = indent + "  "
    before = "{"
    for pair in pairs:
        if not isinstance(pair, tuple):
            yield ""
            continue
        name, value = pair
        yield f"{before}{inner}{json.dumps(str(name), ensure_ascii=False)}: "
        yield from encode(value, inner)
        before = ","
    yield "{}" if before == "{" else indent + "}"


def _encode_array(values: Iterable[object], indent: str) -> Iterator[str]:
    inner = indent + "  "
    before = "["
    for value in values:
        if value is PAUSE:
            yield ""
            continue
        yield before + inner
        yield from encode(value, inner)
        before = ","
    yield "[]" if before == "[" else indent + "]"
