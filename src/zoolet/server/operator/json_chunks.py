"""JSON as pieces of text, so that a large answer is never in memory as a whole.

The format is that of ``json.dumps(value, indent=2, ensure_ascii=False)``. This module does not
depend on the contents of the answers.
"""

import json
from collections.abc import Callable, Iterable, Iterator

PAUSE = object()
"""A value in ``Entries`` and ``Items`` where the writer may pause; it is not shown."""


class Entries:
    """A JSON object whose members are produced while it is written."""

    def __init__(self, pairs: Iterable[object]) -> None:
        """Create an object of ``pairs``, each a tuple of name and value, or PAUSE."""
        self.pairs = pairs


class Items:
    """A JSON array whose elements are produced while it is written."""

    def __init__(self, values: Iterable[object]) -> None:
        """Create an array of ``values``, each an element or PAUSE."""
        self.values = values


class Later:
    """A value that is known only after all values before it are written."""

    def __init__(self, make: Callable[[], object]) -> None:
        """Create a value; ``make`` returns it when it is written."""
        self.make = make


def encode(value: object, indent: str = "\n") -> Iterator[str]:
    """Yield the pieces of a JSON text; an empty piece is a pause.

    ``value`` may contain Entries, Items and Later at any depth. An object of a type that JSON does
    not support is shown as text.
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
